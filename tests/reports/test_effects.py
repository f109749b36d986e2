"""Claims about factor effects, against statsmodels' regression on designs with known truth."""

import itertools

import numpy as np
import pytest

from cellbench.ranking.statistics import ImageErrors
from cellbench.reports.effects import factor_levels, grid_effects

FACTORS = {"matcher": ["Hungarian", "KHM"], "decoder": ["FPN", "GFD"], "conv": ["S", "D", "M"]}
CELLS = [
    tuple(zip(FACTORS, labels, strict=True)) for labels in itertools.product(*FACTORS.values())
]


def errors_of(absolute):
    ids = tuple(f"i{index:03d}" for index in range(absolute.shape[1]))
    return ImageErrors(ids, ids, absolute, absolute**2, absolute, np.zeros(len(ids)))


@pytest.fixture(scope="module")
def grid():
    """KHM takes 2 off, GFD 1, KHM with GFD 0.5 more; the convolutions add nothing."""
    rng = np.random.default_rng(0)
    hard = rng.gamma(3, 3, 80)
    rows = []
    for cell in CELLS:
        labels = dict(cell)
        khm, gfd = labels["matcher"] == "KHM", labels["decoder"] == "GFD"
        rows.append(hard - 2 * khm - gfd - 0.5 * (khm and gfd) + rng.normal(0, 0.5, 80))
    return np.stack(rows)


def named(effects):
    return {
        (tuple((c.factor, c.level) for c in e.changes), tuple(dict(e.within).values())): e
        for e in effects
    }


def test_the_factors_keep_their_order():
    assert factor_levels(CELLS) == FACTORS
    assert factor_levels([]) == {}


def test_known_effects_are_found_with_intervals_that_hold_them(grid):
    found = named(grid_effects(CELLS, errors_of(grid)))
    for changes, truth in {
        (("matcher", "KHM"),): -2.25,
        (("decoder", "GFD"),): -1.25,
        (("conv", "D"),): 0,
        (("conv", "M"),): 0,
        (("matcher", "KHM"), ("decoder", "GFD")): -0.5,
        (("matcher", "KHM"), ("conv", "M")): 0,
        (("matcher", "KHM"), ("decoder", "GFD"), ("conv", "D")): 0,
    }.items():
        effect = found[changes, ()]
        assert effect.low <= truth <= effect.high
        assert effect.high - effect.low < 1.5
    assert found[(("matcher", "KHM"),), ()].cells == 6
    assert found[(("matcher", "KHM"),), ("GFD", "S")].estimate == pytest.approx(-2.5, abs=0.3)
    assert found[(("matcher", "KHM"),), ("FPN", "S")].estimate == pytest.approx(-2, abs=0.3)


def test_main_effects_and_interactions_are_those_of_a_regression(grid):
    """With treatment contrasts centred over the other factors, by statsmodels."""
    from statsmodels.regression.linear_model import OLS

    found = named(grid_effects(CELLS, errors_of(grid)))

    def centred(factor, level):
        labels = [dict(cell)[factor] for cell in CELLS]
        column = np.array([label == level for label in labels], dtype=float)
        return column - column.mean()

    khm, gfd = centred("matcher", "KHM"), centred("decoder", "GFD")
    deformable, mdgc = centred("conv", "D"), centred("conv", "M")
    columns = [khm, gfd, deformable, mdgc, khm * gfd, khm * deformable, khm * mdgc]
    columns += [gfd * deformable, gfd * mdgc, khm * gfd * deformable, khm * gfd * mdgc]
    design = np.column_stack([np.ones(12), *columns])
    parameters = OLS(grid.mean(axis=1), design).fit().params
    k, g, d, m = ("matcher", "KHM"), ("decoder", "GFD"), ("conv", "D"), ("conv", "M")
    keys = [(k,), (g,), (d,), (m,), (k, g), (k, d), (k, m), (g, d), (g, m), (k, g, d), (k, g, m)]
    for key, value in zip(keys, parameters[1:], strict=True):
        assert found[key, ()].estimate == pytest.approx(value)


def test_what_no_complete_combination_shows_is_left_out(grid):
    """KHM was only run with FPN, MDGC with neither."""
    kept = [
        index
        for index, cell in enumerate(CELLS)
        if dict(cell)["conv"] != "M" and not {"KHM", "GFD"} <= set(dict(cell).values())
    ]
    found = named(grid_effects([CELLS[i] for i in kept], errors_of(grid[kept])))
    assert found[(("matcher", "KHM"),), ()].cells == 2
    assert not any(len({c for c, _ in key[0]} & {"matcher", "decoder"}) == 2 for key in found)
    assert not any(("conv", "M") in key[0] for key in found)


def test_variants_are_effects_on_the_first_one():
    cells = [(("variant", name),) for name in ("Baseline", "+KHM", "+All")]
    rows = np.stack([np.full(9, 5.0), np.full(9, 4.0), np.full(9, 2.0)])
    found = grid_effects(cells, errors_of(rows))
    assert [e.estimate for e in found] == [-1, -3]
    assert all(e.changes[0].reference == "Baseline" and not e.within for e in found)


def test_one_cell_or_none_has_no_effect():
    assert grid_effects([], errors_of(np.zeros((0, 4)))) == []
    assert grid_effects([(("a", "x"),)], errors_of(np.ones((1, 4)))) == []
