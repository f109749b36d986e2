"""CSRNet against the facts on it."""

import pytest
import torch
from torch import nn

from cellbench.config.sources import config_folders, load_file
from cellbench.errors import PartError
from cellbench.models.build import build_counter
from cellbench.models.parts import DensityOutput, FeatureShape
from cellbench_plugins.methods.csrnet import DilatedBackEnd

CONFIGS = config_folders()[-1] / "methods"


def numbers(convolutions):
    """Weights and biases of (inputs, outputs, taps) convolutions."""
    return sum(inputs * outputs * taps + outputs for inputs, outputs, taps in convolutions)


FRONT = [(3, 64, 9), (64, 64, 9), (64, 128, 9), (128, 128, 9)]
FRONT += [(128, 256, 9), (256, 256, 9), (256, 256, 9)]
FRONT += [(256, 512, 9), (512, 512, 9), (512, 512, 9)]
BACK = [(512, 512, 9), (512, 512, 9), (512, 512, 9), (512, 256, 9), (256, 128, 9), (128, 64, 9)]


@pytest.mark.parametrize("name", ["csrnet", "csrnet_published", "ordinalentropy"])
def test_it_has_as_many_parameters_as_the_paper_lists_layers(name):
    made = build_counter(load_file(CONFIGS / f"{name}.py")["model"], load_weights=False)
    assert sum(p.numel() for p in made.parameters()) == numbers([*FRONT, *BACK, (64, 1, 1)])
    assert numbers([*FRONT, *BACK, (64, 1, 1)]) == 16_263_489


def test_the_back_end_sees_25_cells_without_losing_resolution():
    decoder = DilatedBackEnd([FeatureShape(8, 8)], None)
    for layer in decoder.layers:
        if isinstance(layer, nn.Conv2d):
            assert (layer.kernel_size, layer.dilation, layer.stride) == ((3, 3), (2, 2), (1, 1))
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    features = torch.zeros(1, 8, 31, 33)
    features[0, :, 15, 16] = 1
    seen = decoder([features])[0, 0] > 0
    assert seen.shape == (31, 33)
    assert seen.any(1).nonzero().squeeze(1).tolist() == list(range(3, 28, 2))
    assert seen.any(0).nonzero().squeeze(1).tolist() == list(range(4, 29, 2))


def test_a_stride_that_the_backbone_has_not_is_named():
    with pytest.raises(PartError, match=r"strides \[4, 8\], not 16"):
        DilatedBackEnd([FeatureShape(8, 4), FeatureShape(8, 8)], None, stride=16)


def test_without_a_stride_the_coarsest_map_is_read():
    assert DilatedBackEnd([FeatureShape(8, 4), FeatureShape(8, 8)], None).shape.stride == 8


def test_the_published_loss_is_half_the_squared_distance_of_the_maps_of_an_image():
    """The paper's 1 / 2N, in cells: the map has no scale."""
    made = build_counter(load_file(CONFIGS / "csrnet_published.py")["model"], load_weights=False)
    torch.manual_seed(0)
    density, target = torch.rand(2, 3, 1, 4, 6)
    output = DensityOutput(density, density, 8, made.readout.scale)
    terms = made.criterion(output, target, torch.ones_like(target, dtype=torch.bool), None)
    expected = sum((a - b).square().sum() for a, b in zip(density, target, strict=True)) / (2 * 3)
    torch.testing.assert_close(sum(terms.values()), expected)
