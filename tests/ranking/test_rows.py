"""Claims about which rows are compared, and with what numbers."""

from itertools import cycle
from statistics import stdev

import numpy as np
import pytest
from record_samples import sample_images, sample_record

from cellbench.data import splits
from cellbench.ranking import rows
from cellbench.ranking.published import read_published
from cellbench.ranking.ranks import rank_runs
from cellbench.ranking.rows import published_rows
from cellbench.records.record_file import write_record
from cellbench.records.store import load_records

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def table(tmp_path):
    """Write records, given as (method, split, wanted MAE, changes), and rank them."""

    def make(*records):
        for method, split, mae, *changes in records:
            record = sample_record(method=method, split=split, **(changes[0] if changes else {}))
            for row, sign in zip(record["images"], cycle((1, -1)), strict=False):
                row["prediction"] = row["truth"] + sign * mae
            record["metrics"] |= {"mae": float(mae)}
            write_record(tmp_path, record)
        loaded = load_records(tmp_path)
        assert not loaded.problems
        return rank_runs(loaded.runs)

    return make


def ranks(rows):
    return [(row.method, row.rank) for row in rows]


def test_the_protocols_are_those_of_the_splits():
    assert tuple(splits.PROTOCOLS) == rows.PROTOCOLS
    unranked = tuple(name for name, p in splits.PROTOCOLS.items() if not p.ranked)
    assert unranked == rows.UNRANKED_PROTOCOLS


def test_without_runs_there_are_no_rows():
    assert rank_runs([]) == []


def test_less_error_ranks_first_and_equals_share_a_rank(table):
    many = {"images": sample_images(12)}
    rows = table(("c", 0, 3, many), ("a", 0, 2, many), ("b", 0, 2, many), ("d", 0, 9, many))
    assert ranks(rows) == [("a", 1), ("b", 1), ("c", 3), ("d", 4)]


def test_seeds_are_averaged_before_splits(table):
    rows = table(("a", 0, 1), ("a", 0, 3, {"seed": 1}), ("a", 0, 5, {"seed": 2}), ("a", 1, 9))
    assert len(rows) == 1
    assert rows[0].mae == (3 + 9) / 2
    assert rows[0].mae_sd == pytest.approx(stdev([3, 9]))
    assert rows[0].mae_seed_sd == pytest.approx(stdev([1, 3, 5]))
    assert (rows[0].splits, rows[0].seeds, rows[0].runs) == ((0, 1), (0, 1, 2), 4)


def test_rows_are_compared_on_the_splits_that_all_have(table):
    # On all its splits a is worse, on the shared one it is better.
    rows = table(("a", 0, 1), ("a", 1, 50), ("b", 0, 2))
    assert ranks(rows) == [("a", 1), ("b", 2)]
    assert rows[0].mae == 1
    assert rows[0].splits == (0,)
    assert "split 1" in rows[0].note


def test_without_a_shared_split_the_commonest_is_compared(table):
    rows = table(("a", 0, 1), ("b", 1, 2), ("c", 1, 3))
    assert ranks(rows) == [("b", 1), ("c", 2), ("a", None)]
    assert rows[2].note == "has no run of split 1"
    assert rows[2].mae == 1


@pytest.mark.parametrize("protocol", ["smoke", "released"])
def test_smoke_and_released_are_never_ranked(table, protocol):
    rows = table(("a", 0, 1), ("b", 0, 0, {"protocol": protocol}))
    assert ranks(rows) == [("a", 1), ("b", None)]
    assert protocol in rows[1].note


def test_protocols_never_share_a_ranking(table):
    rows = table(("a", 0, 5), ("b", 0, 1, {"protocol": "literature"}))
    assert [(r.protocol, r.rank) for r in rows] == [("v1", 1), ("literature", 1)]


def test_simulated_sets_never_mix_with_real_ones(table):
    rows = table(("a", 0, 5), ("b", 0, 1, {"dataset": "adi-sim"}))
    assert [(r.dataset, r.simulated, r.rank) for r in rows] == [
        ("adi", False, 1),
        ("adi-sim", True, 1),
    ]


def test_only_the_current_recipe_ranks_also_of_variants(table):
    rows = table(("a", 0, 1), ("a", 0, 2, {"recipe": 2}), ("a[x=1]", 0, 0), ("ab", 0, 7))
    assert ranks(rows) == [("a", 1), ("ab", 2), ("a", None), ("a[x=1]", None)]
    assert rows[0].recipe == 2
    assert rows[2].note == "recipe 1, current is 2"


def test_another_revision_of_the_data_is_not_compared(table):
    rows = table(("a", 0, 3), ("b", 0, 2), ("c", 0, 1, {"manifest_hash": "other"}))
    assert ranks(rows) == [("b", 1), ("a", 2), ("c", None)]
    assert "revision" in rows[2].note


def test_configs_and_weights_of_one_name_are_separate_rows(table):
    random = {"weights": {"source": "random", "sha256": None}}
    rows = table(
        ("a", 0, 1),
        ("a", 0, 2, {"config": {"other": 1}}),
        ("a", 0, 3, random),
    )
    assert [(r.mae, r.weights) for r in rows] == [(1, "file"), (2, "file"), (3, "random")]


def test_trainings_of_different_length_are_separate_rows(table):
    rows = table(("a", 0, 1, {"iterations": 10}), ("a", 0, 2, {"iterations": 20}))
    assert [(r.mae, r.iterations) for r in rows] == [(1, 10), (2, 20)]


def test_a_metric_that_one_run_lacks_is_not_made_up(table, tmp_path):
    record = sample_record(method="a", split=1)
    record["metrics"]["f1"] = None
    write_record(tmp_path, record)
    rows = table(("a", 0, 1))
    assert rows[0].splits == (0, 1)
    assert rows[0].f1 is None
    assert rows[0].mae == pytest.approx((1 + record["metrics"]["mae"]) / 2)


def test_an_image_of_several_splits_weighs_as_much_as_one_of_a_single_split(table):
    """Split 0 scores all images with an error of 1, split 1 the first three with one of 5."""
    truth, predictions = sample_images(3)
    rows = table(("a", 0, 1), ("a", 1, 5, {"images": (truth, predictions)}))
    assert rows[0].mae == pytest.approx(np.mean([3, 3, 3, 1, 1, 1]))
    assert rows[0].rmse == pytest.approx(np.sqrt(np.mean([13, 13, 13, 1, 1, 1])))


def test_where_no_count_was_corrected_the_raw_error_is_the_error(tmp_path):
    """Both are means over images: a mean of two splits' own would say that a correction helped."""
    for split, images, off in ((0, 6, 1.0), (1, 3, 5.0)):
        record = sample_record(split=split, images=sample_images(images))
        for image in record["images"]:
            image["prediction"] = image["raw"] = image["truth"] + off
        record["metrics"] |= {"mae": off, "raw_mae": off}
        write_record(tmp_path, record)
    for _ in range(2):  # the second time from the cache
        (row,) = rank_runs(load_records(tmp_path).runs)
        assert row.raw_mae == row.mae == pytest.approx(np.mean([3, 3, 3, 1, 1, 1]))


def test_ranks_have_intervals_that_hold_them(table):
    many = {"images": sample_images(12)}
    rows = table(("a", 0, 1, many), ("b", 0, 1, many), ("c", 0, 9, many))
    assert [(r.rank, r.rank_low, r.rank_high) for r in rows] == [(1, 1, 1), (1, 1, 1), (3, 3, 3)]


@pytest.mark.parametrize(
    ("records", "note"),
    [
        (
            [("a", 0, 1, {"weights": {"source": "random", "sha256": None, "wanted": "vgg16"}})],
            "random weights",
        ),
        ([("a", 0, 1, {"dataset": "adi-sim"})], "simulated images"),
        (
            [("a", 0, 1), ("a[x=1]", 0, 2), ("a[x=2]", 0, 3, {"iterations": 7})],
            "trained for 7 steps, most rows of a for 100",
        ),
        (
            [("a", 0, 1, {"config": {"schedule": {"budget_s": 480}}})],
            "steps fitted to 8 min on the machine that ran it",
        ),
        (
            [(m, 0, 1, {"seed": seed}) for m in "ab" for seed in (0, 1)] + [("c", 0, 9)],
            "1 seeds where most rows have 2",
        ),
    ],
)
def test_a_row_that_departs_says_so(table, records, note):
    rows = table(*records)
    assert note in rows[-1].note
    assert all(row.note == "" for row in rows[:-1])


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ({40: 10.0, 75: 8.0, 100: 7.0}, "still fell by 12% in the last quarter"),
        ({40: 10.0, 75: 8.0, 100: 7.7}, ""),  # 4 %
        ({40: 6.0, 75: 8.0, 100: 7.0}, ""),  # the best was found before
        ({100: 7.0}, ""),  # nothing to compare it with
        ({40: 10.0, 60: 8.0}, ""),
        ({40: 0.0, 100: 0.0}, ""),
    ],
)
def test_a_training_that_has_not_levelled_is_doubted(table, errors, said):
    curve = [{"step": s, "loss": 0.1, "validation_mae": mae} for s, mae in errors.items()]
    (row,) = table(("a", 0, 1, {"curve": curve, "iterations": 100}))
    assert said in row.note
    assert bool(row.note) == bool(said)


def test_a_row_says_in_how_many_orientations_its_images_are_counted(table):
    (row,) = table(("a", 0, 1, {"config": {"model": {"type": "DLA", "views": 4}}}))
    assert row.note == "counts each image in 4 orientations"


def test_a_method_that_wants_no_weights_does_not_depart_without_them(table):
    (row,) = table(("a", 0, 1, {"weights": {"source": "random", "sha256": None}}))
    assert row.note == ""


def test_published_numbers_are_rows_without_a_rank():
    numbers = [n for n in read_published() if n.dataset == "vgg"]
    rows = published_rows(numbers)
    assert [row.mae for row in rows] == sorted(n.mae for n in numbers)
    assert {row.rank for row in rows} == {None}
    assert {row.protocol for row in rows} == {"published"}
    assert all(row.source for row in rows)


def of_schedule(name, epochs, done, **more):
    config = {"method": {"name": name, **more}, "data": {"set": "adi", "epochs": epochs}}
    return {"config": config, "epochs": done}


def test_a_partial_training_is_listed_below_the_ranked_rows_with_its_share(table):
    rows = table(
        ("a", 0, 6, of_schedule("a", 10, 10)),
        ("b", 0, 1, of_schedule("b", 10, 2.5)),
        ("c", 0, 3, of_schedule("c", 10, 9.99)),
    )
    assert [(row.method, row.rank, row.share) for row in rows] == [
        ("c", 1, None), ("a", 2, None), ("b", None, 0.25),
    ]  # fmt: skip
    assert "partial: 25% of the steps" in rows[2].note
    assert rows[2].mae_low is not None
    assert rows[2].listed


def test_the_schedule_of_a_method_is_what_most_of_its_rows_have(table):
    rows = table(
        ("a", 0, 2, of_schedule("a", 10, 10)),
        ("a[x=1]", 0, 2, of_schedule("a", 10, 10, x=1)),
        ("a[x=2]", 0, 2, of_schedule("a", 4, 4, x=2)),
        ("a[x=3]", 0, 2, of_schedule("a", 80, 80, x=3)),
    )
    assert {row.method: row.share for row in rows} == {
        "a": None, "a[x=1]": None, "a[x=2]": 0.4, "a[x=3]": None,
    }  # fmt: skip


def test_a_stated_schedule_takes_the_rank_of_no_training_that_is_whole(table):
    """Of two records, one of which states more epochs than anyone trained."""
    rows = table(
        ("a", 0, 3, of_schedule("a", 10, 10)),
        ("a[x=1]", 0, 2, of_schedule("a", 5, 5, x=1) | {"whole_epochs": 100_000}),
        ("b", 0, 4, of_schedule("b", 10, 5)),
        ("b[x=1]", 0, 4, of_schedule("b", 5, 5, x=1) | {"whole_epochs": 100_000}),
        ("c", 0, 5, of_schedule("c", 10, 10)),
        ("c[x=1]", 0, 5, of_schedule("c", 4, 4, x=1)),
    )
    assert {row.method: row.share for row in rows} == {
        "a": None, "a[x=1]": 5e-5, "b": 0.5, "b[x=1]": 5e-5, "c": None, "c[x=1]": 0.4,
    }  # fmt: skip


def test_where_all_rows_are_shortened_their_own_schedule_tells(table):
    """As after a comparison with `--epochs 8`: nothing usual is there to measure by."""
    short = of_schedule("a", 8, 8) | {"whole_epochs": 60}
    rows = table(("a", 0, 2, short), ("a[x=1]", 0, 1, of_schedule("a", 8, 8, x=1) | {
        "whole_epochs": 60,
    }))  # fmt: skip
    assert {row.rank for row in rows} == {None}
    assert [row.share for row in rows] == pytest.approx([8 / 60, 8 / 60])
