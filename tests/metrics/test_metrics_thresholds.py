"""Claims about the chosen threshold, against trying every threshold."""

import numpy as np
import pytest

from cellbench.metrics.localisation import detect, pool
from cellbench.metrics.thresholds import choose_threshold
from cellbench.structures import CellSample, Prediction, no_points

RADIUS = 4.0


def candidates_of(scores, points=None):
    scores = np.asarray(scores, dtype=np.float32)
    if points is None:
        points = np.zeros((len(scores), 2), dtype=np.float32)
    return Prediction(float(len(scores)), np.asarray(points, dtype=np.float32), scores)


def cells(count, points=None):
    points = (
        np.full((count, 2), 5, np.float32) if points is None else np.asarray(points, np.float32)
    )
    return CellSample("a", points.reshape(-1, 2), (100, 100))


def mae_at(threshold, candidates, truth):
    counts = [0 if c.scores is None else int((c.scores > threshold).sum()) for c in candidates]
    return float(np.mean([abs(n - t.count) for n, t in zip(counts, truth, strict=True)]))


def f1_at(threshold, candidates, truth):
    return pool(
        detect(c.points[c.scores > threshold], t.points, RADIUS)
        for c, t in zip(candidates, truth, strict=True)
    ).f1


def random_set(seed, images=6, steps=None):
    rng = np.random.default_rng(seed)
    truth, candidates = [], []
    for _ in range(images):
        own = rng.uniform(0, 100, (int(rng.integers(0, 15)), 2)).astype(np.float32)
        points = np.concatenate([own + rng.normal(0, 2, own.shape), rng.uniform(0, 100, (9, 2))])
        scores = np.concatenate([rng.beta(4, 2, len(own)), rng.beta(2, 4, 9)])
        if steps:
            scores = np.round(scores * steps) / steps
        truth.append(cells(0, own))
        candidates.append(candidates_of(scores, points))
    return candidates, truth


@pytest.mark.parametrize("steps", [None, 8])
@pytest.mark.parametrize("seed", range(8))
def test_no_threshold_has_a_smaller_error_and_of_those_none_a_better_f1(seed, steps):
    candidates, truth = random_set(seed, steps=steps)
    chosen = choose_threshold(candidates, truth, radius_px=RADIUS)
    scores = np.unique(np.concatenate([c.scores for c in candidates]).astype(float))
    tried = [-1.0, *((scores[1:] + scores[:-1]) / 2), 2.0]
    errors = [mae_at(t, candidates, truth) for t in tried]
    assert mae_at(chosen, candidates, truth) == min(errors)
    best = max(
        f1_at(t, candidates, truth) for t, e in zip(tried, errors, strict=True) if e == min(errors)
    )
    assert f1_at(chosen, candidates, truth) == best


@pytest.mark.parametrize("seed", range(2))
def test_where_the_count_does_not_depend_on_it_f1_decides(seed):
    candidates, truth = random_set(seed)
    chosen = choose_threshold(candidates, truth, radius_px=RADIUS, counted=False)
    tried = np.unique(np.concatenate([c.scores for c in candidates])) - 1e-6
    assert f1_at(chosen, candidates, truth) == max(f1_at(t, candidates, truth) for t in tried)


@pytest.mark.parametrize("seed", range(8))
def test_rounding_the_threshold_never_flips_a_count(seed):
    candidates, truth = random_set(seed, steps=20)
    chosen = choose_threshold(candidates, truth, radius_px=RADIUS)
    for c in candidates:
        above = (c.scores > np.float32(chosen)).sum()
        assert above == (c.scores >= np.float32(chosen)).sum()
        assert above == (c.scores.astype(float) > chosen).sum()
        assert above == (c.scores + np.float32(1e-7) > chosen).sum()


def test_neighbouring_float32_scores_are_never_parted():
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    chosen = choose_threshold([candidates_of([high, low])], [cells(1)], radius_px=RADIUS)
    assert (chosen > high) == (chosen > low)


def test_the_threshold_lies_in_the_middle_of_the_gap():
    chosen = choose_threshold([candidates_of([0.9, 0.3])], [cells(1)], radius_px=RADIUS)
    assert chosen == pytest.approx(0.6)


def test_of_a_run_the_gap_at_its_middle_is_taken():
    # F1 alone, and nothing to find: every place but the first is as bad, from 0.9 down to 0
    candidates = [candidates_of([0.9, 0.8, 0.7, 0.2])]
    chosen = choose_threshold(candidates, [cells(1, [(50, 50)])], radius_px=RADIUS, counted=False)
    assert chosen == pytest.approx(0.45)  # of gaps with ends at 1, 0.9, 0.8, 0.7, 0.2 and 0


def test_nothing_found_is_no_better_than_what_is_found():
    # a wrong candidate, then a right one: neither or both have the least error of the count
    candidates = [candidates_of([0.9], [(50, 50)]), candidates_of([0.8], [(20, 20)])]
    truth = [cells(0), cells(1, [(20, 20)])]
    assert choose_threshold(candidates, truth, radius_px=RADIUS) == pytest.approx(0.4)


def test_of_tied_runs_the_widest_is_taken():
    # One and three candidates are each wrong by one, and by F1 too: no point is near the cells.
    far = np.full((3, 2), 90.0)
    tied = [candidates_of([0.9, 0.8, 0.2], far)]
    chosen = choose_threshold(tied, [cells(2)], radius_px=RADIUS)
    assert 0.2 < chosen < 0.8
    both = [candidates_of([0.9, 0.85], far[:2]), candidates_of([0.5], far[:1])]
    # Images of 1 and 1: after one candidate the sum of errors is 1, after two 2, after three 1.
    chosen = choose_threshold(both, [cells(1), cells(1)], radius_px=RADIUS)
    assert 0 < chosen < 0.5


@pytest.mark.parametrize("scores", [[1.0, 1.0], [0.0, 0.0], [0.99999994], [1e-7], [5.0, -3.0]])
@pytest.mark.parametrize("count", [0, 50])
def test_none_or_all_can_be_chosen_whatever_the_scores(scores, count):
    candidates = [candidates_of(scores)]
    chosen = choose_threshold(candidates, [cells(count)], radius_px=RADIUS)
    assert int((candidates[0].scores > chosen).sum()) == (0 if count == 0 else len(scores))


def test_without_candidates_or_images_the_threshold_is_one_half():
    assert choose_threshold([], [], radius_px=RADIUS) == 0.5
    empty = Prediction(0.0, no_points(), np.zeros(0, np.float32))
    assert choose_threshold([empty], [cells(3)], radius_px=RADIUS) == 0.5
    assert choose_threshold([Prediction(3.0)], [cells(3)], radius_px=RADIUS) == 0.5


def test_scores_that_are_no_numbers_count_nowhere():
    candidates = [candidates_of([np.nan, 0.9, 0.2], [[5, 5], [5, 5], [90, 90]])]
    chosen = choose_threshold(candidates, [cells(1)], radius_px=RADIUS)
    assert 0.2 < chosen < 0.9


def test_an_image_without_candidates_counts_with_its_cells():
    # Missing there cannot be made good by false points elsewhere.
    candidates = [candidates_of([0.9, 0.8]), candidates_of([])]
    chosen = choose_threshold(candidates, [cells(1), cells(7)], radius_px=RADIUS)
    assert 0.8 < chosen < 0.9


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="1 images"):
        choose_threshold([candidates_of([0.5])], [], radius_px=RADIUS)
    broken = Prediction(1.0, np.zeros((2, 2), np.float32), np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="2 candidates"):
        choose_threshold([broken], [cells(1)], radius_px=RADIUS)


def test_a_validation_part_of_many_candidates_is_quick():
    import time

    rng = np.random.default_rng(0)
    candidates, truth = [], []
    for _ in range(50):
        own = rng.uniform(0, 150, (155, 2))
        points = np.concatenate([own + rng.normal(0, 1, own.shape), rng.uniform(0, 150, (1300, 2))])
        scores = np.concatenate([rng.beta(4, 2, 155), rng.beta(1, 9, 1300)])
        candidates.append(candidates_of(scores, points))
        truth.append(cells(0, own))
    start = time.process_time()
    choose_threshold(candidates, truth, radius_px=RADIUS, counted=False)
    assert time.process_time() - start < 8  # measured: 0.5
