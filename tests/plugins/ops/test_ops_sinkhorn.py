"""Sinkhorn against POT's exact solver, and where the blur is nearly nothing."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbench_plugins._ops.lattice import lattice
from cellbench_plugins._ops.sinkhorn import plan, sinkhorn


def problem(seed, cells, grid=(6, 5), stride=8, peaky=4):
    """Squared distances of random cells to the places of a map, and both masses."""
    rng = torch.Generator().manual_seed(seed)
    size = torch.tensor([grid[1] * stride, grid[0] * stride])
    points = torch.rand(1, cells, 2, generator=rng) * size
    cost = torch.cdist(points, lattice(grid, stride, points.device)[None]).square()
    density = torch.rand(1, grid[0] * grid[1], generator=rng) ** peaky
    return cost, torch.ones(1, cells), density, float(size.square().sum())


def exact(cost, rows, columns):
    a, b = (mass[0].double().numpy() for mass in (rows, columns))
    return ot.emd2(a / a.sum(), b / b.sum(), cost[0].double().numpy())


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10_000), st.integers(1, 25), st.sampled_from([1, 4]))
def test_the_least_cost_is_that_of_an_exact_solver(seed, cells, peaky):
    cost, rows, columns, diagonal2 = problem(seed, cells, peaky=peaky)
    eps = 1e-5 * diagonal2
    found = sinkhorn(cost, rows, columns, eps=eps)
    spent = float((plan(cost, rows, columns, found, eps=eps) * cost).sum())
    wanted = exact(cost, rows, columns)
    assert spent == pytest.approx(wanted, rel=1e-3, abs=1e-3 * 64)


@pytest.mark.parametrize("blur", [1e-3, 1e-5, 1e-6])
@pytest.mark.parametrize(("cells", "grid"), [(1, (4, 4)), (40, (8, 8)), (60, (4, 12))])
def test_it_converges_however_small_the_blur_on_any_rectangle(blur, cells, grid):
    cost, rows, columns, diagonal2 = problem(3, cells, grid)
    eps = blur * diagonal2
    found = sinkhorn(cost, rows, columns, eps=eps)
    assert float(found.violation) < 1e-5
    carried = plan(cost, rows, columns, found, eps=eps)
    assert torch.isfinite(carried).all()
    torch.testing.assert_close(carried.sum(2), rows.double() / cells, atol=1e-5, rtol=0)
    wanted = columns.double() / columns.double().sum()
    torch.testing.assert_close(carried.sum(1), wanted, atol=1e-9, rtol=1e-6)


def test_it_agrees_with_an_independent_sinkhorn_at_the_blur_of_dm_count():
    cost, rows, columns, _ = problem(0, 12)
    found = sinkhorn(cost, rows, columns, eps=10.0)
    a, b = ((mass[0].double() / mass[0].double().sum()).numpy() for mass in (rows, columns))
    theirs = ot.bregman.sinkhorn_log(a, b, cost[0].double().numpy(), 10.0, 20000, 1e-10)
    ours = plan(cost, rows, columns, found, eps=10.0)[0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_columns_potential_is_the_gradient_of_the_cost():
    cost, rows, columns, _ = problem(1, 7)
    eps = 10.0

    def value(masses):
        found = sinkhorn(cost, rows, masses, eps=eps, tolerance=1e-10)
        a, b = rows.double() / rows.sum(), masses.double() / masses.double().sum()
        return float((found.rows * a).sum() + (found.columns * b).sum())

    g = sinkhorn(cost, rows, columns, eps=eps, tolerance=1e-10).columns[0]
    total = columns.double().sum()
    share = columns[0].double() / total
    for place in (0, 11, 29):
        more, less = columns.double().clone(), columns.double().clone()
        more[0, place] += 1e-4
        less[0, place] -= 1e-4
        slope = (value(more) - value(less)) / 2e-4
        # moving mass changes the normalised map; eps log b is the entropy's part of it
        entropic = g - (g * share).sum()
        assert slope == pytest.approx(float(entropic[place] / total), rel=1e-3, abs=1e-3)


def test_padding_an_image_with_cells_and_places_without_mass_changes_nothing():
    first, second = problem(4, 9), problem(5, 14)
    cost = torch.full((2, 14, 40), 77.0)
    rows, columns = torch.zeros(2, 14), torch.zeros(2, 40)
    for row, (own, cells, density, _) in enumerate((first, second)):
        cost[row, : own.shape[1], : own.shape[2]] = own[0]
        rows[row, : own.shape[1]] = cells[0]
        columns[row, : own.shape[2]] = density[0]
    together = sinkhorn(cost, rows, columns, eps=1.0)
    for row, (own, cells, density, _) in enumerate((first, second)):
        alone = sinkhorn(own, cells, density, eps=1.0)
        here = together.columns[row, : own.shape[2]]
        difference = here - alone.columns[0]
        torch.testing.assert_close(difference, difference.mean().expand_as(here), atol=1e-4, rtol=0)
    assert all(torch.isfinite(values).all() for values in together)


@pytest.mark.parametrize("shape", [(2, 0, 5), (2, 5, 0), (0, 3, 3)])
def test_nothing_to_carry_costs_nothing(shape):
    images, cells, places = shape
    found = sinkhorn(
        torch.zeros(shape), torch.ones(images, cells), torch.ones(images, places), eps=1
    )
    assert not any(values.any() for values in found)


def test_an_image_without_mass_is_left_out_of_its_batch():
    cost, rows, columns, _ = problem(6, 5)
    cost, rows, columns = (torch.cat([part] * 3) for part in (cost, rows, columns))
    rows[0] = 0
    columns[2] = 0
    found = sinkhorn(cost, rows, columns, eps=1.0)
    assert not found.columns[[0, 2]].any()
    assert found.columns[1].any()
    assert plan(cost, rows, columns, found, eps=1.0).sum((1, 2)).tolist() == pytest.approx(
        [0, 1, 0]
    )


def test_a_blur_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="positive number, not 0"):
        sinkhorn(torch.zeros(1, 1, 1), torch.ones(1, 1), torch.ones(1, 1), eps=0)
