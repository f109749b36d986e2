import math
from itertools import permutations

import numpy as np
import pytest
import torch

from cellbench.errors import PartError
from cellbench.registry import MATCHERS

WEIGHTINGS = ("monotone", "reward", "released")
EVERY = pytest.mark.parametrize(
    "config",
    [{"type": "Hungarian"}, *({"type": "KHM", "weighting": w} for w in WEIGHTINGS)],
    ids=lambda config: config.get("weighting", config["type"]),
)


def scene(proposals, cells, seed=0, extent=40.0):
    rng = np.random.default_rng(seed)
    return (
        torch.from_numpy(rng.random((proposals, 2)) * extent).float(),
        torch.from_numpy(rng.random(proposals)).float(),
        torch.from_numpy(rng.random((cells, 2)) * extent).float(),
    )


def pairs(answer):
    rows, columns = answer
    assert rows.dtype == columns.dtype == torch.int64
    return dict(zip(columns.tolist(), rows.tolist(), strict=True))


def plain_cost(proposal, score, cell, cells, config, scale):
    """The cost of one pair, in loops, from the definition."""
    point_weight, score_weight = config.get("point_weight", 0.05), config.get("score_weight", 1.0)
    d = math.dist(proposal, cell) / scale
    geometric = d
    if config["type"] == "KHM":
        nearest = sorted(math.dist(proposal, other) / scale for other in cells)[
            : config.get("k", 5)
        ]
        radius = sum(nearest) / len(nearest)
        sigma = config.get("sigma_px", 5.0)
        w = math.exp(-(d**2) / (2 * sigma**2))
        weighting = config.get("weighting", "monotone")
        at_radius = math.isclose(d, radius, rel_tol=1e-9)
        if weighting == "released" and d < radius and not at_radius:
            geometric = d * w
        elif weighting != "released" and (d < radius or at_radius):
            geometric = (d if weighting == "monotone" else sigma) * (1 - w)
    return point_weight * geometric - score_weight * score


def cheapest(proposals, scores, cells, config, scale=1.0):
    """The least total over all ways to pair, by trying every one."""
    proposals, scores, cells = (t.double().tolist() for t in (proposals, scores, cells))
    cost = [
        [plain_cost(p, s, c, cells, config, scale) for c in cells]
        for p, s in zip(proposals, scores, strict=True)
    ]
    rows, columns = len(proposals), len(cells)
    if rows >= columns:
        ways = permutations(range(rows), columns)
        totals = (sum(cost[row][column] for column, row in enumerate(way)) for way in ways)
    else:
        ways = permutations(range(columns), rows)
        totals = (sum(cost[row][column] for row, column in enumerate(way)) for way in ways)
    return min(totals), cost


@EVERY
@pytest.mark.parametrize("shape", [(6, 3), (5, 5), (3, 6), (7, 2), (1, 4), (4, 1), (1, 1)])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_no_pairing_is_cheaper(config, shape, scale):
    config = {**config, "point_weight": 0.2, "score_weight": 0.7}
    if config["type"] == "KHM":
        config |= {"k": 2, "sigma_px": 6.0}
    for seed in range(4):
        proposals, scores, cells = scene(*shape, seed=seed, extent=20 * scale)
        found = pairs(MATCHERS.build(config).match(proposals, scores, cells, scale=scale))
        least, cost = cheapest(proposals, scores, cells, config, scale)
        assert len(found) == min(shape)
        assert sum(cost[row][column] for column, row in found.items()) == pytest.approx(least)


@EVERY
def test_each_proposal_and_each_cell_is_used_at_most_once(config):
    for proposals, cells in ((200, 40), (40, 200)):
        rows, columns = MATCHERS.build(config).match(*scene(proposals, cells))
        assert len(rows) == len(columns) == 40
        assert len(set(rows.tolist())) == len(set(columns.tolist())) == 40


@EVERY
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_matches_nothing(config, shape):
    rows, columns = MATCHERS.build(config).match(*scene(*shape))
    assert rows.shape == columns.shape == (0,)
    assert rows.dtype == columns.dtype == torch.int64


@EVERY
def test_two_cells_at_one_point_get_two_proposals(config):
    proposals = torch.tensor([[10.0, 10.0], [11.0, 10.0], [30.0, 30.0]])
    cells = torch.tensor([[10.0, 10.0], [10.0, 10.0]])
    found = pairs(MATCHERS.build(config).match(proposals, torch.full((3,), 0.5), cells))
    assert set(found.values()) == {0, 1}


@EVERY
def test_moving_everything_changes_nothing(config):
    matcher = MATCHERS.build(config)
    proposals, scores, cells = scene(60, 25)
    shift = torch.tensor([128.0, 64.0])
    before = pairs(matcher.match(proposals, scores, cells))
    assert pairs(matcher.match(proposals + shift, scores, cells + shift)) == before


@EVERY
@pytest.mark.parametrize("scale", [0.5, 2.0, 4.0])
def test_the_input_scale_changes_nothing(config, scale):
    matcher = MATCHERS.build(config)
    proposals, scores, cells = scene(60, 25)
    before = pairs(matcher.match(proposals, scores, cells))
    after = matcher.match(proposals * scale, scores, cells * scale, scale=scale)
    assert pairs(after) == before


@EVERY
def test_the_order_of_the_cells_changes_nothing(config):
    matcher = MATCHERS.build(config)
    proposals, scores, cells = scene(60, 25)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(1))
    before = pairs(matcher.match(proposals, scores, cells))
    after = pairs(matcher.match(proposals, scores, cells[order]))
    assert {order[column].item(): row for column, row in after.items()} == before


@EVERY
def test_a_diverged_proposal_is_the_last_choice(config):
    proposals, scores, cells = scene(6, 4)
    proposals[2], scores[4] = float("nan"), float("inf")
    found = pairs(MATCHERS.build(config).match(proposals, scores, cells))
    assert set(found.values()) == {0, 1, 3, 5}
    everything = MATCHERS.build(config).match(proposals * float("nan"), scores, cells)
    assert len(pairs(everything)) == 4


@EVERY
def test_no_gradient_and_no_argument_is_touched(config):
    proposals, scores, cells = scene(9, 4)
    copies = [tensor.clone() for tensor in (proposals, scores, cells)]
    rows, columns = MATCHERS.build(config).match(
        proposals.requires_grad_(), scores.requires_grad_(), cells
    )
    assert not rows.requires_grad
    assert not columns.requires_grad
    for tensor, copy in zip((proposals, scores, cells), copies, strict=True):
        assert torch.equal(tensor, copy)


@EVERY
def test_half_precision_is_taken(config):
    proposals, scores, cells = scene(9, 4)
    rows, _ = MATCHERS.build(config).match(proposals.bfloat16(), scores.bfloat16(), cells)
    assert len(rows) == 4


def test_a_high_score_may_outweigh_a_short_distance():
    proposals, cells = torch.tensor([[1.0, 0.0], [6.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    scores = torch.tensor([0.1, 0.9])
    assert pairs(MATCHERS.build({"type": "Hungarian"}).match(proposals, scores, cells)) == {0: 1}
    near = MATCHERS.build({"type": "Hungarian", "point_weight": 1.0})
    assert pairs(near.match(proposals, scores, cells)) == {0: 0}


def khm(**options):
    return MATCHERS.build({"type": "KHM", **options})


# Beside the distance asked for, a cell so far that the radius holds the first.
def cost_at(distances, **options):
    rows = np.array([[d, 1000.0] for d in distances])
    return khm(k=2, **options).geometric_cost(rows)[:, 0]


def test_the_released_weighting_gives_the_costs_of_the_released_code():
    cost = cost_at([1, 5, 10, 15, 20], weighting="released")
    np.testing.assert_allclose(cost, [0.98, 3.03, 1.35, 0.17, 0.007], atol=0.005)
    assert cost[4] < cost[0]  # a cell 20 px away is cheaper than a neighbour: the bug it keeps


@pytest.mark.parametrize("weighting", ["monotone", "reward"])
def test_inside_the_radius_the_cost_grows_with_the_distance(weighting):
    cost = cost_at(np.linspace(0, 60, 601), weighting=weighting)
    assert cost[0] == 0
    assert (np.diff(cost) >= 0).all()
    assert (np.diff(cost[:200]) > 0).all()


@pytest.mark.parametrize("weighting", ["monotone", "reward"])
def test_the_cost_jumps_upwards_at_the_radius_by_what_the_weight_took_off(weighting):
    matcher = khm(weighting=weighting, k=2, sigma_px=5.0)
    distance = np.array([[2.0, 4.0, 3.0, 3.001]])  # the radius is that of 2 and 3
    cost = matcher.geometric_cost(np.array([[3.0, 3.0, 3.0001]]))[0]
    assert matcher.radius(distance) == pytest.approx([2.5])
    assert cost[0] < 1.0 < cost[2] == pytest.approx(3.0001)
    sorted_costs = matcher.geometric_cost(np.sort(distance))[0]
    assert (np.diff(sorted_costs) > 0).all()


def test_reward_maximises_the_summed_weight_where_all_pairs_are_inside():
    for seed in range(10):
        proposals, scores, cells = scene(5, 2, seed=seed, extent=3.0)
        # Far cells that only widen the radius; their own proposals keep them out of the way.
        far = torch.tensor([[500.0, 0.0], [0.0, 500.0]])
        proposals, cells = torch.cat([proposals, far]), torch.cat([cells, far])
        scores = torch.cat([scores, torch.ones(2)])
        found = pairs(khm(weighting="reward", k=4, score_weight=0).match(proposals, scores, cells))
        weight = torch.exp(-(torch.cdist(proposals, cells) ** 2) / 50)
        best = max(
            weight[one, 0].item() + weight[two, 1].item() for one, two in permutations(range(5), 2)
        )
        assert weight[found[0], 0].item() + weight[found[1], 1].item() == pytest.approx(best)


@pytest.mark.parametrize("k", [1, 3, 5, 9])
def test_the_radius_is_the_mean_over_the_nearest_there_are(k):
    rng = np.random.default_rng(k)
    for cells in (1, 2, 4, 12):
        distance = rng.random((7, cells)) * 30
        expected = [np.mean(sorted(row)[:k]) for row in distance.tolist()]
        np.testing.assert_allclose(khm(k=k).radius(distance), expected)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_equal_distances_lie_at_the_radius_whatever_rounding_says(count):
    distance = np.full((1, count), 0.1) * 3
    inside = khm().geometric_cost(distance)
    assert (inside < 0.01).all()
    np.testing.assert_array_equal(khm(weighting="released").geometric_cost(distance), distance)


def test_radii_shrink_where_cells_lie_densely():
    dense, sparse = scene(50, 200)[2], scene(50, 10)[2]
    proposals = scene(50, 1)[0]
    radii = [khm().radius(torch.cdist(proposals, cells).numpy()) for cells in (dense, sparse)]
    assert (radii[0] < radii[1]).all()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"type": "KHM", "k": 0}, "k is 0"),
        ({"type": "KHM", "sigma_px": 0.0}, "sigma_px is 0"),
        ({"type": "KHM", "weighting": "inverse"}, "inverse"),
        ({"type": "Hungarian", "point_weight": -1.0}, "point_weight is -1"),
        (
            {"type": "KHM", "score_weight": float("nan")},
            "score_weight: KHM wants a number here, not nan",
        ),
    ],
)
def test_impossible_options_are_refused_in_one_sentence(config, words):
    with pytest.raises(PartError, match=words):
        MATCHERS.build(config)


def test_training_calls_the_match_of_a_class_that_overrides_it_alone():
    hungarian = MATCHERS.get("Hungarian")

    class Swapped(hungarian):
        def match(self, proposals, scores, cells, *, scale=1.0):
            rows, which = super().match(proposals, scores, cells, scale=scale)
            return rows, which.flip(0)

    points = np.array([[1.0, 1.0], [9.0, 9.0]], dtype=np.float32)
    scores = np.ones(2, dtype=np.float32)
    rows, which = hungarian().match_arrays(points, scores, points, scale=1.0)
    assert (rows.tolist(), which.tolist()) == ([0, 1], [0, 1])
    rows, which = Swapped().match_arrays(points, scores, points, scale=1.0)
    assert (rows.tolist(), which.tolist()) == ([0, 1], [1, 0])
