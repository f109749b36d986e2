"""The squared error of maps: what it averages over, and what it never looks at."""

import pytest
import torch

from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.parts import DensityOutput
from cellbench_plugins.losses.density import DensityMSE


def compare(density, target, valid=None, *, scale=1.0, **options):
    density, target = torch.as_tensor(density), torch.as_tensor(target)
    valid = torch.ones_like(target, dtype=torch.bool) if valid is None else valid
    pixels = density.new_zeros(len(density), 3, 1, 1)
    images = Images(pixels, torch.ones(len(density), 2), 1.0, [""] * len(density))
    output = DensityOutput(density, density, 1, scale)
    return DensityMSE(**options)(output, target, valid, Batch(images, []))


def maps():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 2, 1, 4, 6, generator=generator)


def test_the_mean_is_over_cells_of_the_map_and_scaled_as_the_output_is():
    density, target = maps()
    terms = compare(density, target, scale=10.0)
    assert list(terms) == ["loss_density"]
    torch.testing.assert_close(terms["loss_density"], 100 * (density - target).square().mean())


def test_the_sum_is_over_an_image_and_averaged_over_images():
    density, target = maps()
    found = compare(density, target, reduction="sum", weight=0.5)["loss_density"]
    torch.testing.assert_close(found, 0.5 * (density - target).square().sum() / 2)


def test_the_count_term_is_the_error_of_the_sum_of_each_image():
    density, target = maps()
    found = compare(density, target, scale=100.0, count_weight=2.0)["loss_count"]
    errors = (density.sum(dim=(1, 2, 3)) - target.sum(dim=(1, 2, 3))).abs()
    torch.testing.assert_close(found, 2.0 * errors.mean())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_padding_is_in_no_term_whatever_it_holds(reduction):
    density, target = maps()
    valid = torch.ones_like(target, dtype=torch.bool)
    valid[..., 4:] = False
    spoilt = torch.where(valid, density, float("nan")).requires_grad_()
    terms = compare(spoilt, target, valid, reduction=reduction, count_weight=1.0)
    cut = compare(density[..., :4], target[..., :4], reduction=reduction, count_weight=1.0)
    for name, term in terms.items():
        torch.testing.assert_close(term, cut[name])
    sum(terms.values()).backward()
    assert torch.isfinite(spoilt.grad).all()
    assert (spoilt.grad[..., 4:] == 0).all()


def test_a_batch_that_is_all_padding_loses_nothing():
    density, target = maps()
    terms = compare(density, target, torch.zeros_like(target, dtype=torch.bool))
    assert float(terms["loss_density"]) == 0


def test_a_batch_without_images_loses_nothing():
    none = torch.zeros(0, 1, 4, 4)
    terms = DensityMSE(count_weight=0.5)(DensityOutput(none, none, 8), none, none > 0, None)
    assert {name: float(term) for name, term in terms.items()} == {
        "loss_density": 0.0,
        "loss_count": 0.0,
    }


def test_negative_weights_are_refused():
    with pytest.raises(PartError, match="at least 0"):
        DensityMSE(count_weight=-1.0)
