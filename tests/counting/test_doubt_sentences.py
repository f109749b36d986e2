"""Claims about the closing sentences of a count: no number without its doubt."""

import numpy as np
import pytest

from cellbench.counting.count_rows import Counted
from cellbench.counting.doubt_sentences import expected_error_text, sum_text, table_warnings
from cellbench.ranking.statistics import intervals
from cellbench.records.kept_models import find_model
from cellbench.records.record_file import read_record


def picture(count, interval=None):
    return Counted("a", count, None, (9, 9), None, "s", interval=interval)


def test_the_error_has_the_interval_over_whole_fields_and_the_number_of_images(tmp_path):
    record = read_record(find_model("nuclei-unet") / "record.json")
    images = record["images"]
    errors = np.array([[abs(one["prediction"] - one["truth"]) for one in images]])
    fields = [one["id"][:3] for one in images]
    ((low, high),) = intervals(errors, fields)
    assert low < record["metrics"]["mae"] < high
    assert expected_error_text(record, tmp_path) == (
        f"UNetPeaks was {record['metrics']['mae']:.2f} cells off on average (95 %: {low:.2f} to "
        f"{high:.2f}) on {len(images)} test images ({len(set(fields))} fields) of nuclei"
    )


@pytest.mark.parametrize(
    ("protocol", "number", "said"),
    [
        ("v1", 1, "2.00 cells off on average on the test image of mine"),
        (
            "released",
            9,
            "trained on the scored images of mine, so that its error is not known",
        ),
        ("v1", 5, "2.00 cells off on average on 5 test images of mine"),
        ("v1", 6, "2.00 cells off on average (95 %: 2.00 to 2.00) on 6 test images of mine"),
    ],
)
def test_an_interval_is_only_where_images_were_held_out(tmp_path, protocol, number, said):
    images = [{"id": str(i), "truth": 4, "prediction": 6.0} for i in range(number)]
    record = {"method": "M", "dataset": "mine", "protocol": protocol, "images": images}
    text = expected_error_text(record | {"metrics": {"mae": 2.0}}, tmp_path)
    assert text == f"M was {said}"


def test_a_sum_has_an_interval_where_it_is_one_pictures():
    one, two = picture(7.0, (5.0, 9.5)), picture(3.0)
    assert sum_text([one], estimated=False) == "7.0 cells in 1 picture (90 %: 5.0 to 9.5)."
    assert sum_text([two, two], estimated=False) == "6.0 cells in 2 pictures."
    assert sum_text([one, two], estimated=True) == "10.0 cells in 2 pictures."
    said = sum_text([one, two], estimated=False)
    assert said.startswith("10.0 cells in 2 pictures; the intervals are of single pictures")


def test_copies_and_lines_of_other_pictures_are_said():
    named = [Counted(name, 1.0, None, (9, 9), None, sha) for name, sha in ("as", "bt", "cs")]
    copies, earlier = table_warnings(named, ["a", "b", "c", "gone", "away"])
    assert copies.startswith("1 of 3 pictures is a copy of another, byte for byte (c of a)")
    assert earlier.startswith("counts.csv also has 2 lines of pictures that were counted earlier")
    assert "(gone)" in earlier
    assert table_warnings(named[:2], ["a", "b"]) == []
