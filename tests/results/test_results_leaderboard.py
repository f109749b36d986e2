"""Claims about which rows are compared, and with what numbers."""

from statistics import stdev

import numpy as np
import pytest
from record_samples import sample_record

from cellbench.data import splits
from cellbench.results import leaderboard
from cellbench.results.leaderboard import rank_runs
from cellbench.results.records import write_record
from cellbench.results.runs import load_records
from cellbench.results.statistics import mae_intervals, resampled_maes

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def table(tmp_path):
    """Write records, given as (method, split, wanted MAE, changes), and rank them."""

    def make(*records):
        for method, split, mae, *changes in records:
            record = sample_record(method=method, split=split, **(changes[0] if changes else {}))
            off = [1, -1, 1, -1, 1, -1]
            for row, sign in zip(record["images"], off, strict=True):
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
    assert tuple(splits.PROTOCOLS) == leaderboard.PROTOCOLS
    unranked = tuple(name for name, p in splits.PROTOCOLS.items() if not p.ranked)
    assert unranked == leaderboard.UNRANKED_PROTOCOLS


def test_without_runs_there_are_no_rows():
    assert rank_runs([]) == []


def test_less_error_ranks_first_and_equals_share_a_rank(table):
    rows = table(("c", 0, 3), ("a", 0, 2), ("b", 0, 2), ("d", 0, 9))
    assert ranks(rows) == [("a", 1), ("b", 1), ("c", 3), ("d", 4)]


def test_seeds_are_averaged_before_splits(table):
    rows = table(("a", 0, 1), ("a", 0, 3, {"seed": 1}), ("a", 0, 5, {"seed": 2}), ("a", 1, 9))
    assert len(rows) == 1
    assert rows[0].mae == (3 + 9) / 2
    assert rows[0].mae_sd == pytest.approx(stdev([3, 9]))
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
        ("a", 0, 3, random | {"run_id": "f" * 64}),
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
    assert rows[0].rmse is not None


def test_the_interval_agrees_with_a_plain_bootstrap(tmp_path):
    write_record(tmp_path, sample_record())
    run = load_records(tmp_path).runs[0]
    error = np.abs(run.prediction - run.truth)
    rng = np.random.default_rng(1)
    plain = [error[rng.integers(0, 6, 6)].mean() for _ in range(20_000)]
    found = resampled_maes([[run]], resamples=20_000)[:, 0]
    assert found.mean() == pytest.approx(np.mean(plain), abs=0.02)
    assert found.std() == pytest.approx(np.std(plain), rel=0.05)
    low, high = mae_intervals([[run]])[0]
    assert (low, high) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.2)
    assert low <= error.mean() <= high


def test_an_image_in_two_splits_is_one_image(tmp_path):
    """Five splits of the same images and errors are as unsure as one."""
    write_record(tmp_path, sample_record())
    run = load_records(tmp_path).runs[0]
    from dataclasses import replace

    copies = [replace(run, split=split) for split in range(5)]
    once, five = resampled_maes([[run], copies]).T
    np.testing.assert_allclose(once, five)


def test_the_same_resamples_serve_all_rows(tmp_path):
    from dataclasses import replace

    write_record(tmp_path, sample_record())
    run = load_records(tmp_path).runs[0]
    worse = replace(run, prediction=run.truth + np.abs(run.prediction - run.truth) + 1)
    drawn = resampled_maes([[run], [worse]])
    np.testing.assert_allclose(drawn[:, 1] - drawn[:, 0], 1)


def test_one_image_has_no_interval(tmp_path):
    from dataclasses import replace

    write_record(tmp_path, sample_record())
    run = load_records(tmp_path).runs[0]
    one = replace(run, image_ids=("a",), truth=np.ones(1), prediction=np.zeros(1))
    none = replace(run, image_ids=(), truth=np.ones(0), prediction=np.zeros(0))
    assert mae_intervals([[one]]) == [None]
    assert mae_intervals([[none], [run]])[0] is None
    assert mae_intervals([[none]]) == [None]
    assert mae_intervals([]) == []
