"""FCRN: A from the paper's layers, B from what reimplementations agree on."""

import pytest
import torch
import torch.nn.functional as F
from written_out import conv_norm_relu, doubled, leaves, unsettled

from cellbench.config.sources import find_config, load_file
from cellbench.errors import PartError
from cellbench.models.build import build_counter
from cellbench.models.parts import FeatureShape
from cellbench_plugins.methods.fcrn import FCRNA, FCRNB, FCRNBMap


def made(name):
    return build_counter(load_file(find_config(f"methods/{name}.py"))["model"])


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def chain(edges, channels):
    """Convolutions without bias, and two numbers of batch-norm an output."""
    pairs = zip(edges, channels, channels[1:], strict=False)
    return sum(edge**2 * a * b + 2 * b for edge, a, b in pairs)


def test_a_has_as_many_parameters_as_its_layers():
    layers = chain([3] * 7, [3, 32, 64, 128, 512, 128, 64, 32])
    assert layers == 1_366_752
    assert parameters(made("fcrn")) == layers + 32 + 1


def test_b_has_as_many_parameters_as_its_layers():
    layers = chain([3, 3, 3, 3, 5, 5], [3, 32, 64, 128, 256, 256, 256])
    assert parameters(made("fcrn_b")) == layers + 25 * 256 + 1


@pytest.mark.parametrize("name", ["fcrn", "fcrn_b"])
def test_the_map_has_the_resolution_of_the_image_and_starts_at_the_prior(name):
    torch.manual_seed(0)
    counter = made(name)
    images = counter.data_preprocessor.images(
        [torch.randint(0, 255, (32, 64, 3), dtype=torch.uint8).numpy()], scale=1.0, image_ids=["0"]
    )
    density = counter.estimate(images).density.detach()
    assert density.shape == (1, 1, 32, 64)
    assert float(density.mean()) == pytest.approx(2e-3, rel=0.3)


@pytest.mark.parametrize(
    ("build", "pools_behind", "doublings_before"),
    [(FCRNA, (0, 1, 2), (4, 5, 6)), (FCRNB, (1, 3), (5,))],
)
def test_pools_and_doublings_stand_where_the_figure_has_them(build, pools_behind, doublings_before):
    torch.manual_seed(0)
    network, pixels = unsettled(build()), torch.rand(1, 3, 16, 24)
    layers = leaves(network)
    expected = pixels
    for index in range(len(layers) // 2):
        if index in doublings_before:
            expected = doubled(expected)
        expected = conv_norm_relu(expected, *layers[2 * index : 2 * index + 2])
        if index in pools_behind:
            expected = F.max_pool2d(expected, 2)
    torch.testing.assert_close(network(pixels)[0], expected)


def test_a_comes_back_from_stride_8_without_a_skip():
    """What lies beyond the reach of the coarsest path changes nothing."""
    network = FCRNA().eval()
    pixels = torch.rand(1, 3, 128, 128)
    changed = pixels.clone()
    changed[..., 64:] += 1
    (before,), (after,) = network(pixels), network(changed)
    assert before[..., :24].equal(after[..., :24])
    assert not before[..., 60:].equal(after[..., 60:])


def test_the_end_of_b_halves_an_even_stride_only():
    assert FCRNBMap([FeatureShape(8, 4)], conv=None).shape == FeatureShape(1, 2)
    with pytest.raises(PartError, match="halves the stride"):
        FCRNBMap([FeatureShape(8, 1)], conv=None)
