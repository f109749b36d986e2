"""Claims about the estimand, its intervals and the tests, against independent computations."""

from dataclasses import replace

import numpy as np
import pytest
from record_samples import sample_record
from scipy import stats

from cellbench.ranking import statistics
from cellbench.ranking.clusters import cluster_names, cluster_word
from cellbench.ranking.paired_tests import compare_pairs, pairs_needed
from cellbench.ranking.statistics import (
    ImageErrors,
    image_errors,
    intervals,
    mean_over_images,
    rank_intervals,
    resampled_means,
)
from cellbench.records.record_file import write_record
from cellbench.records.store import load_records

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def run(tmp_path):
    write_record(tmp_path, sample_record())
    return load_records(tmp_path).runs[0]


def errors_of(absolute, clusters=None):
    """As if some experiments had these errors on some images."""
    absolute = np.atleast_2d(np.asarray(absolute, dtype=float))
    ids = tuple(f"i{index:04d}" for index in range(absolute.shape[1]))
    return ImageErrors(
        image_ids=ids,
        clusters=ids if clusters is None else tuple(clusters),
        absolute=absolute,
        squared=absolute**2,
        signed=absolute,
        truth=np.zeros(absolute.shape[1]),
    )


def with_error(run, error, **changes):
    return replace(run, prediction=run.truth + np.asarray(error, dtype=float), **changes)


def test_errors_are_averaged_over_seeds_then_splits(run):
    runs = [
        with_error(run, np.full(6, 1.0)),
        with_error(run, np.full(6, -3.0), seed=1),
        with_error(run, np.full(6, 6.0), split=1),
    ]
    errors = image_errors([runs])
    np.testing.assert_allclose(errors.absolute, np.full((1, 6), (2 + 6) / 2))
    np.testing.assert_allclose(errors.squared, np.full((1, 6), (5 + 36) / 2))
    np.testing.assert_allclose(errors.signed, np.full((1, 6), (-1 + 6) / 2))
    assert mean_over_images(errors.absolute) == [4.0]


def test_an_image_in_two_splits_is_one_image(run):
    """Five splits of the same images and errors are as unsure as one."""
    copies = [replace(run, split=split) for split in range(5)]
    errors = image_errors([[run], copies])
    assert errors.absolute.shape == (2, 6)
    once, five = intervals(errors.absolute, errors.clusters)
    assert once == pytest.approx(five)


def test_an_image_that_comes_several_times_is_averaged(run):
    twice = replace(
        run, image_ids=("a", "a", "b"), truth=np.zeros(3), prediction=np.array([1.0, 3.0, 8.0])
    )
    errors = image_errors([[twice]])
    assert errors.image_ids == ("a", "b")
    assert errors.absolute.tolist() == [[2.0, 8.0]]


def test_an_image_that_one_experiment_lacks_is_no_score(run):
    other = replace(run, image_ids=("img000", "x"), truth=np.zeros(2), prediction=np.ones(2))
    errors = image_errors([[run], [other]])
    assert len(errors.image_ids) == 7
    assert np.isnan(errors.absolute).sum(axis=1).tolist() == [1, 5]
    assert mean_over_images(errors.absolute)[1] == 1.0


@pytest.mark.parametrize("images", [2, 3, 5, 6, 8])
def test_a_few_images_have_an_interval_only_where_it_holds_the_truth(images):
    """Of 1,000 intervals of two images 498 held the mean of all, of five 910 and of six 930."""
    rng = np.random.default_rng(images)
    found = intervals(rng.normal(5.0, 2.0, (1000, images)), [str(i) for i in range(images)])
    held = [span[0] <= 5.0 <= span[1] for span in found if span is not None]
    assert len(held) == (1000 if images >= 6 else 0)
    assert not held or np.mean(held) > 0.92


def test_nothing_has_no_mean_and_no_interval():
    assert mean_over_images(np.full((1, 3), np.nan)) == [None]
    assert intervals(np.zeros((0, 5)), list("abcde")) == []
    assert intervals(np.zeros((2, 0)), []) == [None, None]
    assert intervals(np.ones((1, 1)), ["a"]) == [None]
    assert intervals(np.ones((1, 3)), ["a", "a", "a"]) == [None]
    assert intervals(np.full((1, 3), np.nan), ["a", "b", "c"]) == [None]
    assert rank_intervals(np.zeros((2, 0)), []) == [(1, 2), (1, 2)]
    assert rank_intervals(np.zeros((0, 0)), []) == []
    assert image_errors([]).absolute.shape == (0, 0)


def test_equal_errors_have_an_interval_without_width():
    assert intervals(np.full((1, 20), 3.0), errors_of(np.ones(20)).clusters) == [
        pytest.approx((3.0, 3.0))
    ]


def test_resampled_means_agree_with_a_plain_bootstrap():
    error = np.random.default_rng(1).exponential(5, 40)
    rng = np.random.default_rng(2)
    plain = error[rng.integers(0, 40, (20_000, 40))].mean(axis=1)
    drawn = resampled_means(error[None], errors_of(error).clusters, resamples=20_000)[:, 0]
    assert drawn.mean() == pytest.approx(plain.mean(), abs=0.02)
    assert drawn.std() == pytest.approx(plain.std(), rel=0.03)


def test_intervals_are_scipys_percentiles_but_for_the_widening():
    """SciPy is asked for the level that the widening amounts to."""
    rng = np.random.default_rng(3)
    rows = np.stack([rng.exponential(5, 60), np.abs(rng.normal(0, 8, 60)), rng.normal(0, 1, 60)])
    ours = intervals(rows, errors_of(rows).clusters, resamples=40_000)
    reach = np.sqrt(60 / 59) * stats.t.ppf(0.975, 59)
    for row, (low, high) in zip(rows, ours, strict=True):
        theirs = stats.bootstrap(
            (row,),
            np.mean,
            n_resamples=40_000,
            method="percentile",
            confidence_level=1 - 2 * stats.norm.sf(reach),
            rng=np.random.default_rng(4),
        ).confidence_interval
        width = theirs.high - theirs.low
        assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.02 * width)
        # With 60 images that is hardly wider than what everyone reports.
        assert width < 1.1 * 2 * 1.96 * row.std() / np.sqrt(60)


def test_whole_slides_are_resampled_against_a_plain_bootstrap():
    """Sections that share a slide's error say less than as many independent ones."""
    rng = np.random.default_rng(5)
    slides = np.repeat(np.arange(12), rng.integers(1, 6, 12))
    error = 5 + rng.normal(0, 2, 12)[slides] + rng.normal(0, 0.3, len(slides))
    names = [f"s{s:02d}" for s in slides]
    plain = []
    for _ in range(4000):
        drawn = rng.integers(0, 12, 12)
        plain.append(np.concatenate([error[slides == s] for s in drawn]).mean())
    ours = resampled_means(error[None], names)[:, 0]
    assert ours.std() == pytest.approx(np.std(plain), rel=0.05)
    together = intervals(error[None], names)[0]
    alone = intervals(error[None], [str(i) for i in range(len(error))])[0]
    assert together[1] - together[0] > 1.3 * (alone[1] - alone[0])


def test_the_slides_of_mbm_are_known_and_other_sets_have_images():
    ids = ["BM_GRAZ_HE_0002_01_001", "BM_GRAZ_HE_0002_01_002", "BM_GRAZ_HE_0002_02_001", "7"]
    slides = cluster_names("mbm", ids)
    assert slides == ["BM_GRAZ_HE_0002_01", "BM_GRAZ_HE_0002_01", "BM_GRAZ_HE_0002_02", "7"]
    assert cluster_names("adi", ids) == ids
    assert (cluster_word("mbm"), cluster_word("adi")) == ("slide", "image")
    assert cluster_names("mbm", []) == []


def test_groups_of_a_set_of_ones_own_are_those_of_its_records(run):
    assert cluster_names("mine", ["a", "b", "c"], {"a": "x", "b": "x"}) == ["group x"] * 2 + ["c"]
    assert cluster_word("mine", {"a": "x"}) == "group"
    groups = {image_id: str(index // 2) for index, image_id in enumerate(run.image_ids)}
    one = with_error(run, np.arange(6.0), dataset="mine", groups=groups)
    other = with_error(run, np.arange(6.0) + 1, dataset="mine", groups=groups)
    errors = image_errors([[one], [other]])
    assert errors.cluster_count == 3
    assert errors.word == "group"


def test_groups_come_back_from_a_record_and_from_the_cache(tmp_path):
    record = sample_record(dataset="mine")
    groups = {image["id"]: "slide" for image in record["images"]}
    write_record(tmp_path, record | {"groups": groups})
    assert [load_records(tmp_path).runs[0].groups for _ in range(2)] == [groups, groups]


def test_the_slides_are_within_the_donors_that_the_plugin_knows():
    from cellbench_plugins.datasets.mbm import Mbm

    for donor, slide, number in ((1, 1, 0), (8, 3, 12)):
        image_id = f"BM_GRAZ_HE_{donor:04d}_{slide:02d}_{number:03d}"
        (name,) = cluster_names("mbm", [image_id])
        assert name != image_id
        assert Mbm().group(image_id) in name


def test_rank_intervals_widen_where_rows_are_alike():
    rng = np.random.default_rng(6)
    base = np.abs(rng.normal(0, 5, 100))
    rows = np.stack([base, base + rng.normal(0, 2, 100), base + 20])
    found = rank_intervals(rows, errors_of(rows).clusters)
    assert found == [(1, 2), (1, 2), (3, 3)]


def test_rank_intervals_agree_with_ranks_by_scipy():
    rng = np.random.default_rng(7)
    rows = np.abs(rng.normal(0, 5, (5, 30))) + np.arange(5)[:, None]
    clusters = errors_of(rows).clusters
    ranks = stats.rankdata(resampled_means(rows, clusters), axis=1, method="min")
    expected = np.quantile(ranks, [0.025, 0.975], axis=0, method="nearest").T
    assert np.abs(np.array(rank_intervals(rows, clusters)) - expected).max() <= 1


def test_rows_with_equal_means_share_the_better_rank_and_one_row_is_first():
    rows = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [9.0, 9.0, 9.0]])
    assert rank_intervals(rows, list("abc")) == [(1, 1), (1, 1), (3, 3)]
    assert rank_intervals(rows[:1], list("abc")) == [(1, 1)]


def test_many_rows_take_fewer_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "_MOST_RANKS", 1000)
    rows = np.repeat(np.arange(1.0, 11.0)[:, None], 8, axis=1)
    assert rank_intervals(rows, errors_of(rows).clusters) == [(k, k) for k in range(1, 11)]


def test_differences_are_paired():
    """Hard images are hard for both: the difference is far surer than either error."""
    rng = np.random.default_rng(8)
    hard = rng.exponential(10, 80)
    (found,) = compare_pairs(errors_of([hard + 1 + rng.normal(0, 0.1, 80), hard]))
    assert found.difference == pytest.approx(1, abs=0.05)
    assert 0.9 < found.low < found.difference < found.high < 1.1
    assert (found.images, found.clusters) == (80, 80)


def test_wilcoxon_and_holm_are_scipys_and_those_of_the_definition():
    rng = np.random.default_rng(9)
    rows = np.abs(rng.normal(0, 5, (4, 40))) + np.array([0, 0.3, 1.5, 4])[:, None]
    found = compare_pairs(errors_of(rows), resamples=200)
    assert [(c.first, c.second) for c in found] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    p = np.array([stats.wilcoxon(rows[c.first], rows[c.second]).pvalue for c in found])
    assert [c.p for c in found] == pytest.approx(p.tolist())
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(6, 0, -1)).clip(max=1)
    assert np.array([c.p_holm for c in found])[order] == pytest.approx(stepped)


@pytest.mark.parametrize("pairs", [50, 51, 200])
def test_wilcoxon_is_scipys_with_ties_and_zeros_too(pairs):
    rng = np.random.default_rng(pairs)
    for rows in (rng.normal(0.3, 1, (2, pairs)), rng.integers(0, 6, (2, pairs)).astype(float)):
        (found,) = compare_pairs(errors_of(rows), resamples=200)
        assert found.p == pytest.approx(stats.wilcoxon(rows[0], rows[1]).pvalue, rel=1e-12)


def test_too_few_pairs_are_said_and_not_tested():
    (found,) = compare_pairs(errors_of([[1, 2, 3, 4, 5], [2, 3, 4, 5, 6]]))
    assert found.p is None
    assert found.p_holm is None
    assert found.reason == "5 pairs differ and 6 are needed to tell anything from chance"
    assert found.difference == -1
    (equal,) = compare_pairs(errors_of(np.ones((2, 50))))
    assert equal.p is None
    assert equal.reason.startswith("0 pairs differ")


@pytest.mark.parametrize(("tests", "needed"), [(1, 6), (3, 7), (66, 12)])
def test_the_pairs_needed_are_those_that_can_pass_holm(tests, needed):
    smallest = [stats.wilcoxon(np.arange(1, n + 1.0)).pvalue for n in (needed - 1, needed)]
    assert smallest[0] > 0.05 / tests >= smallest[1]
    assert pairs_needed(tests) == needed


def test_slides_are_what_is_tested():
    names = [f"s{index // 10}" for index in range(40)]
    (found,) = compare_pairs(errors_of([np.arange(40.0), np.arange(40.0) + 1], names))
    assert (found.images, found.clusters) == (40, 4)
    assert found.p is None


@pytest.mark.slow
@pytest.mark.parametrize("splits", [1, 3])
def test_95_percent_intervals_hold_the_truth_in_93_to_97_percent_of_trials(splits):
    """1,000 trials of 100 images, each scored in one split or in some of several."""
    rng = np.random.default_rng(10)
    held = held_difference = 0
    for _ in range(1000):
        hard = rng.gamma(4, 1, 100)
        # Two methods: normal errors that grow with how hard the image is, some splits absent.
        off = rng.normal(0, 2, (2, splits, 100)) * hard * np.array([1, 1.2])[:, None, None]
        seen = rng.random((splits, 100)) < 0.6
        seen[0] |= ~seen.any(axis=0)
        kept = np.where(seen, np.abs(off), np.nan)
        rows = np.nanmean(kept, axis=1)
        errors = errors_of([rows[0], rows[1]])
        half_normal = np.sqrt(2 / np.pi)
        truth = 2 * 4 * half_normal
        (low, high), _ = intervals(errors.absolute, errors.clusters, resamples=1000)
        held += low <= truth <= high
        difference = errors.absolute[1:] - errors.absolute[:1]
        ((low, high),) = intervals(difference, errors.clusters, resamples=1000)
        held_difference += low <= 0.2 * truth <= high
    assert 930 <= held <= 970
    assert 930 <= held_difference <= 970


@pytest.mark.slow
def test_no_difference_is_a_false_alarm_in_at_most_6_5_percent_of_trials():
    """Four methods with the same error: any pair that passes Holm at 5 % is a false alarm."""
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(1000):
        rows = np.abs(rng.normal(0, 5, (4, 100)) * rng.gamma(4, 1, 100))
        found = compare_pairs(errors_of(rows), resamples=50)
        alarms += any(c.p_holm <= 0.05 for c in found)
    assert 10 <= alarms <= 65
