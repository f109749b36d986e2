"""OrdinalEntropy's regulariser against a plain loop, and where it has nothing to compare."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from cellbench.errors import PartError
from cellbench.models.parts import DensityOutput
from cellbench_plugins.methods.ordinalentropy import OrdinalEntropyLoss


def by_loop(features, densities, levels):
    """Diversity and tightness of one image, all of whose places are taken."""
    least, most = float(densities.min()), float(densities.max())
    groups = {}
    for feature, density in zip(features, densities.tolist(), strict=True):
        level = min(int((density - least) / ((most - least) / levels)), levels - 1)
        groups.setdefault(level, []).append((feature, density))
    centres = {}
    for level, members in groups.items():
        mean = sum(feature for feature, _ in members) / len(members)
        value = sum(density for _, density in members) / len(members)
        centres[level] = (mean / mean.norm(), value)
    pairs = list(itertools.combinations(centres.values(), 2))
    gaps = [abs(a[1] - b[1]) for a, b in pairs]
    diversity = sum(
        (gap - min(gaps)) / max(gaps) * (a[0] - b[0]).norm()
        for gap, (a, b) in zip(gaps, pairs, strict=True)
    ) / len(pairs)
    away = [
        (feature / feature.norm() - centres[level][0]).norm()
        for level, members in groups.items()
        for feature, _ in members
    ]
    return -float(diversity), float(sum(away) / len(away))


def test_it_is_the_papers_sums_over_levels():
    torch.manual_seed(0)
    features, densities = torch.randn(2, 40, 5), torch.rand(2, 40)
    loss = OrdinalEntropyLoss(levels=7)
    taken = torch.ones(2, 40, dtype=torch.bool)
    diversity, tightness = loss.regularise(features, densities, taken)
    wanted = [by_loop(features[i], densities[i], 7) for i in range(2)]
    assert float(diversity) == pytest.approx(sum(d for d, _ in wanted) / 2, rel=1e-4)
    assert float(tightness) == pytest.approx(sum(t for _, t in wanted) / 2, rel=1e-4)


def test_downsampled_maps_are_those_of_nearest_interpolation():
    """As the authors' code takes features and densities."""
    torch.manual_seed(0)
    features, target = torch.randn(2, 5, 16, 24), torch.rand(2, 1, 16, 24)

    def terms(features, target, downsample):
        output = DensityOutput(target, features, 8)
        everywhere = torch.ones_like(target, dtype=torch.bool)
        found = OrdinalEntropyLoss(downsample=downsample)(output, target, everywhere, None)
        return found["loss_diversity"], found["loss_tightness"]

    small = [F.interpolate(maps, size=(4, 6), mode="nearest") for maps in (features, target)]
    torch.testing.assert_close(terms(features, target, 4), terms(*small, 1))


def test_places_that_are_not_taken_count_for_nothing():
    torch.manual_seed(0)
    features, densities = torch.randn(1, 30, 4), torch.rand(1, 30)
    taken = torch.zeros(1, 30, dtype=torch.bool)
    taken[0, ::2] = True
    loss = OrdinalEntropyLoss(levels=5)
    some = loss.regularise(features, densities, taken)
    only = loss.regularise(features[:, ::2], densities[:, ::2], taken[:, ::2])
    torch.testing.assert_close(some, only)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5]])
def test_fewer_than_two_levels_have_no_diversity_and_a_finite_gradient(values):
    features = torch.randn(1, 4, 3, requires_grad=True)
    densities, taken = torch.zeros(1, 4), torch.zeros(1, 4, dtype=torch.bool)
    densities[0, : len(values)] = torch.tensor(values)
    taken[0, : len(values)] = True
    diversity, tightness = OrdinalEntropyLoss().regularise(features, densities, taken)
    (diversity + tightness).backward()
    assert float(diversity.detach()) == 0
    assert torch.isfinite(features.grad).all()
    if not values:
        assert float(tightness.detach()) == pytest.approx(0, abs=1e-6)


def test_features_of_length_zero_have_a_finite_gradient():
    features = torch.zeros(1, 6, 3, requires_grad=True)
    loss = OrdinalEntropyLoss()
    sum(loss.regularise(features, torch.rand(1, 6), torch.ones(1, 6, dtype=torch.bool))).backward()
    assert torch.isfinite(features.grad).all()


def test_features_in_order_of_density_are_preferred():
    angle = torch.linspace(0, 3, 32)
    densities = torch.linspace(0.1, 1, 32)[None]
    ordered = torch.stack([angle.cos(), angle.sin()], dim=1)[None]
    same = torch.ones_like(ordered)
    mixed = ordered[:, torch.randperm(32, generator=torch.Generator().manual_seed(0))]
    taken = torch.ones(1, 32, dtype=torch.bool)
    loss = OrdinalEntropyLoss(levels=8)
    values = [float(sum(loss.regularise(f, densities, taken))) for f in (ordered, mixed, same)]
    assert values[0] < min(values[1:])


def test_without_the_weight_it_is_the_squared_error():
    torch.manual_seed(0)
    density, target = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    valid = torch.ones_like(target, dtype=torch.bool)
    output = DensityOutput(density, torch.randn(2, 5, 4, 4), 8, scale=3.0)
    terms = OrdinalEntropyLoss(weight=0)(output, target, valid, None)
    assert float(sum(terms.values())) == pytest.approx(
        9 * float((density - target).square().mean())
    )


def test_a_batch_without_images_loses_nothing():
    none = torch.zeros(0, 1, 4, 4)
    output = DensityOutput(none, torch.zeros(0, 5, 4, 4), 8)
    terms = OrdinalEntropyLoss(count_weight=0.5)(output, none, none > 0, None)
    assert len(terms) == 4
    assert float(sum(terms.values())) == 0


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(PartError, match="levels at least 2"):
        OrdinalEntropyLoss(levels=1)
