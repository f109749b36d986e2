"""Claims about the estimates of a partly annotated folder."""

import csv

import numpy as np
import pytest

from cellbench.counting.experiment_means import (
    KnownPicture,
    annotated_paths,
    group_means,
    sentences,
    write_group_means,
)
from cellbench.errors import UserError
from cellbench.metrics.powered_means import powered_mean

COUNTED = {f"{kind}_{index}.png": 40.0 + 10 * (kind == "drug") + index
           for kind in ("control", "drug") for index in range(8)}  # fmt: skip
KNOWN = [
    KnownPicture(f"{kind}_{index}", truth, truth + 8 + index % 2 * 2)
    for kind in ("control", "drug")
    for index, truth in zip(range(20, 24), (31.0, 35.0, 38.0, 32.0), strict=True)
]


def test_without_a_pattern_all_pictures_are_one_group():
    (all_pictures,) = group_means(COUNTED, KNOWN, None)
    expected = powered_mean(
        [p.truth for p in KNOWN], [p.count for p in KNOWN], list(COUNTED.values())
    )
    assert (all_pictures.group, all_pictures.means) == ("all pictures", expected)


def test_groups_have_their_own_annotated_pictures_and_stand_after_all():
    groups = group_means(COUNTED, KNOWN, r"^(control|drug)_")
    assert [group.group for group in groups] == ["all pictures", "control", "drug"]
    control = groups[1].means
    assert (control.annotated, control.others) == (4, 8)
    own = [count for name, count in COUNTED.items() if name.startswith("control")]
    assert control.mean.value == pytest.approx(np.mean(own) - 9)


def test_the_folder_that_was_named_gives_no_group():
    counted = {f"drug_trial/{name}": count for name, count in COUNTED.items()}
    below = {f"drug_trial/{name}": name for name in COUNTED}
    groups = group_means(counted, KNOWN, "(control|drug)_", below)
    assert groups == group_means(COUNTED, KNOWN, "(control|drug)_")


def test_a_group_without_annotated_pictures_has_no_interval(tmp_path):
    known = [picture for picture in KNOWN if picture.image.startswith("drug")]
    groups = group_means(COUNTED, known, r"^(control|drug)_")
    assert groups[1].means is None
    assert "no interval, since none is annotated" in sentences(groups)[1]
    rows = list(csv.DictReader(write_group_means(tmp_path, groups).read_text().splitlines()))
    assert rows[1]["mean"] == rows[1]["total_low"] == ""
    assert float(rows[1]["counted_total"]) == sum(groups[1].counted)


def test_the_table_holds_what_the_sentences_say(tmp_path):
    groups = group_means(COUNTED, KNOWN, r"^(control|drug)_")
    rows = list(csv.DictReader(write_group_means(tmp_path, groups).read_text().splitlines()))
    assert [row["group"] for row in rows] == ["all pictures", "control", "drug"]
    for row, group, line in zip(rows, groups, sentences(groups), strict=True):
        assert float(row["mean"]) == pytest.approx(group.means.mean.value, rel=1e-5)
        assert float(row["total_high"]) == pytest.approx(group.means.total.high, rel=1e-5)
        assert f"{group.means.mean.value:.1f} cells a picture" in line
        assert int(row["pictures"]) == group.means.annotated + group.means.others


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "is no regular expression"),
        ("drug", "has 0 pairs of parentheses; it has one"),
        ("(a)(b)", "has 2 pairs"),
        ("^(drug)_", "does not fit control_0.png; it has to fit every picture."),
    ],
)
def test_a_wrong_pattern_is_one_sentence(pattern, said):
    with pytest.raises(UserError) as caught:
        group_means(COUNTED, KNOWN, pattern)
    assert said in str(caught.value)


def test_a_group_named_like_a_formula_is_text_in_the_table(tmp_path):
    counted = {"=1+1_a": 3.0, "=1+1_b": 4.0}
    path = write_group_means(tmp_path, group_means(counted, [], "^(.*)_"))
    assert path.read_text().splitlines()[-1].startswith("'=1+1,")


def test_errors_that_are_all_the_same_give_no_interval():
    known = [KnownPicture(str(at), 20.0 + at, 19.0 + at) for at in range(4)]
    (found,) = group_means({"a": 30.0, "b": 33.0}, known, None)
    assert found.means.mean.low is found.means.total.low is None
    assert found.means.total.value == pytest.approx(86 + 65)
    assert "off by the same number in all that are annotated" in sentences([found])[0]
    (whole,) = group_means({}, known, None)  # nothing is left to estimate
    assert (whole.means.total.low, whole.means.total.high) == (86, 86)


def test_an_annotated_picture_has_the_group_of_its_path():
    among = {"photos/drug/a.png": "a-1"}
    below = {"photos/drug/a.png": "drug/a.png"}
    found = annotated_paths("(drug|control)/", ["a-1", "control-b"], among, below)
    assert found == {"a-1": "drug/a.png", "control-b": "control/b"}
    assert annotated_paths("(control)-", ["control-b"], {}, {}) == {"control-b": "control-b"}
    refused = annotated_paths("(control)-", ["control-b"], {"refused.tif": "control-b"}, {})
    assert refused == {"control-b": "control-b"}
    with pytest.raises(UserError, match=r"Of the annotated pictures: .* does not fit a-1"):
        annotated_paths("(drug)/", ["a-1"], {}, {})
