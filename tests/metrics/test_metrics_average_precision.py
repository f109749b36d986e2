"""Claims about nAP, against a plain reading of its definition."""

import numpy as np
import pytest

from cellbench.metrics.average_precision import LEVELS, normalised_average_precision, spacing

NONE = np.zeros((0, 2), dtype=np.float32)
NO_SCORES = np.zeros(0, dtype=np.float32)


def plain_nap(predicted, scores, truth, level, radius):
    """One level, with loops alone; scores must differ."""
    ranked = sorted(
        ((s, i, j) for i, own in enumerate(scores) for j, s in enumerate(own)), reverse=True
    )
    scale = []
    for cells in truth:
        own = []
        for a in range(len(cells)):
            near = sorted(np.linalg.norm(cells[a] - cells[b]) for b in range(len(cells)) if b != a)
            own.append(np.mean(near[:3]) if near and np.mean(near[:3]) > 0 else 2 * radius)
        scale.append(own)
    taken, tp, area, cells = set(), 0, 0.0, sum(map(len, truth))
    for k, (_, i, j) in enumerate(ranked, start=1):
        free = [
            (np.linalg.norm(predicted[i][j] - truth[i][a]) / scale[i][a], a)
            for a in range(len(truth[i]))
            if (i, a) not in taken
        ]
        near = [(d, a) for d, a in free if d < level]
        if near:
            taken.add((i, min(near)[1]))
            tp += 1
            area += tp / k / cells
    return area


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_plain_reading_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    truth = [rng.uniform(0, 60, (n, 2)) for n in (30, 4, 3, 1, 0)]
    predicted = [
        np.concatenate([t + rng.normal(0, 2, t.shape), rng.uniform(0, 60, (5, 2))]) for t in truth
    ]
    scores = [rng.random(len(p)) for p in predicted]
    found = normalised_average_precision(predicted, scores, truth, radius_px=4)
    expected = [plain_nap(predicted, scores, truth, level, 4) for level in LEVELS]
    assert found == pytest.approx(expected)


def test_perfect_points_have_an_area_of_one():
    truth = [np.array([[1.0, 1], [9, 9], [5, 2], [3, 7]])]
    assert (
        normalised_average_precision(truth, [[0.9, 0.8, 0.7, 0.6]], truth, radius_px=4) == [1] * 10
    )


def test_a_false_point_costs_by_its_rank():
    truth = [np.array([[0.0, 0], [40, 0], [0, 40], [40, 40]])]
    predicted = [np.concatenate([truth[0], [[20.0, 20.0]]])]
    last = normalised_average_precision(predicted, [[0.9, 0.8, 0.7, 0.6, 0.5]], truth, radius_px=4)
    first = normalised_average_precision(predicted, [[0.9, 0.8, 0.7, 0.6, 1.0]], truth, radius_px=4)
    assert last[0] == 1
    assert first[0] == pytest.approx((1 / 2 + 2 / 3 + 3 / 4 + 4 / 5) / 4)


def test_points_of_one_score_enter_together():
    truth = [np.array([[0.0, 0], [40, 0], [0, 40], [40, 40]])]
    predicted = np.concatenate([truth[0], [[20.0, 20.0]]])
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]):
        found = normalised_average_precision(
            [predicted[order]], [np.full(5, 0.5)], truth, radius_px=4, levels=[0.25]
        )
        assert found == [pytest.approx(0.8)]


def test_a_cell_is_found_once():
    truth = [np.array([[0.0, 0], [40, 0], [0, 40], [40, 40]])]
    thrice = [np.zeros((3, 2))]
    found = normalised_average_precision(thrice, [[0.9, 0.8, 0.7]], truth, radius_px=4)
    assert found == [0.25] * 10


def test_spacing_among_few_cells_is_defined():
    assert spacing(NONE, radius_px=4).shape == (0,)
    assert spacing([[5, 5]], radius_px=4).tolist() == [8]
    assert spacing([[0, 0], [3, 4]], radius_px=4).tolist() == [5, 5]
    assert spacing([[0, 0], [3, 4], [6, 8]], radius_px=4).tolist() == [7.5, 5, 7.5]
    assert spacing([[1, 1]] * 5, radius_px=4).tolist() == [8] * 5


def test_a_lone_cell_is_found_within_the_match_radius_at_one_half():
    for offset, found in ((3.9, 1.0), (4.1, 0.0)):
        values = normalised_average_precision(
            [[[10 + offset, 10.0]]], [[0.5]], [[[10.0, 10.0]]], radius_px=4, levels=[0.5]
        )
        assert values == [found]


def test_without_cells_there_is_no_value_and_without_points_none_is_found():
    assert normalised_average_precision([], [], [], radius_px=4) == [None] * 10
    assert normalised_average_precision([[[1, 1]]], [[0.5]], [NONE], radius_px=4) == [None] * 10
    assert normalised_average_precision([NONE], [NO_SCORES], [[[1, 1]]], radius_px=4) == [0] * 10


def test_points_need_a_score_each():
    with pytest.raises(ValueError, match="1 points"):
        normalised_average_precision([[[1, 1]]], [[0.5, 0.4]], [[[1, 1]]], radius_px=4)
