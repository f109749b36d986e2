"""U-Net: its levels, its skips, and what fits in their place."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from written_out import conv_norm_relu, doubled, leaves, unsettled

from cellbench.config.compose import merge
from cellbench.config.sources import find_config, load_file
from cellbench.errors import PartError
from cellbench.models.build import build_counter
from cellbench.models.parts import FeatureShape
from cellbench_plugins.methods.unet import UNetDecoder, UNetEncoder


def made(**changes):
    model = load_file(find_config("methods/unet.py"))["model"]
    return build_counter(merge(model, changes))


def test_it_has_as_many_parameters_as_its_layers():
    first, same, joined = 9 * 3 * 64, 9 * 64 * 64, 9 * 128 * 64
    convolutions = first + same + 3 * 2 * same + 3 * (joined + same)
    norms = 14 * 2 * 64
    counter = made()
    assert sum(p.numel() for p in counter.parameters()) == convolutions + norms + 64 + 1


def test_the_one_of_peaks_is_narrower_and_reads_scores_at_stride_1():
    counter = build_counter(load_file(find_config("methods/unetpeaks.py"))["model"])
    down = [*pairwise([3, 24, 24, 32, 32, 48, 48, 64, 64])]
    up = [(64 + 48, 24), (24, 24), (24 + 32, 24), (24, 24), (24 + 24, 24), (24, 24)]
    layers = sum(9 * a * b + 2 * b for a, b in [*down, *up])
    assert sum(p.numel() for p in counter.parameters()) == layers + 24 + 1
    assert counter.head.stride == 1


def test_it_computes_what_its_levels_do_one_after_another():
    torch.manual_seed(0)
    encoder = unsettled(UNetEncoder(channels=(4, 6, 8)))
    decoder = unsettled(UNetDecoder(encoder.shapes, conv=None, channels=5))
    pixels = torch.rand(1, 3, 16, 24)
    first = conv_norm_relu(pixels, *leaves(encoder.levels[0]))
    second = conv_norm_relu(F.max_pool2d(first, 2), *leaves(encoder.levels[1]))
    third = conv_norm_relu(F.max_pool2d(second, 2), *leaves(encoder.levels[2]))
    x = torch.cat([second, doubled(third)], dim=1)
    x = conv_norm_relu(x, *leaves(decoder.levels[0]))
    x = torch.cat([first, doubled(x)], dim=1)
    expected = conv_norm_relu(x, *leaves(decoder.levels[1]))
    torch.testing.assert_close(decoder(encoder(pixels)), expected)


def test_levels_halve_and_the_decoder_comes_back():
    encoder = UNetEncoder()
    maps = encoder(torch.rand(1, 3, 32, 48))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 32, 48), (64, 16, 24), (64, 8, 12), (64, 4, 6)
    ]  # fmt: skip
    decoder = UNetDecoder(encoder.shapes, conv=None)
    assert decoder(maps).shape == (1, 64, 32, 48)


@pytest.mark.parametrize("level", range(4))
def test_every_level_reaches_the_map(level):
    decoder = UNetDecoder([FeatureShape(8, 2**i) for i in range(4)], conv=None, channels=8).eval()
    maps = [torch.rand(1, 8, 16 >> i, 16 >> i) for i in range(4)]
    changed = [m + 1 if i == level else m for i, m in enumerate(maps)]
    assert not torch.allclose(decoder(maps), decoder(changed))


@pytest.mark.parametrize(
    ("changes", "stride"),
    [
        ({"backbone": {"type": "VGG16", "strides": [1, 2, 4, 8], "weights": None}}, 1),
        ({"decoder": {"stride": 2}}, 2),
        ({"decoder": {"type": "FPN", "stride": 2, "channels": 16}}, 2),
        ({"decoder": {"type": "GFD", "stride": 4, "channels": 16}}, 4),
        ({"decoder": {"type": "SAUNetDecoder"}}, 1),
        ({"decoder": {"type": "PGCNetDecoder"}}, 1),
        ({"backbone": {"type": "SAUNetEncoder", "channels": [8, 16, 32]}}, 1),
        ({"backbone": {"type": "FCRNA"}}, 1),
    ],
)
def test_another_backbone_or_decoder_fits(changes, stride):
    counter = made(**changes).eval()
    images = counter.data_preprocessor.images(
        [torch.zeros(32, 64, 3, dtype=torch.uint8).numpy()], scale=1.0, image_ids=["0"]
    )
    (found,) = counter.infer(images)
    assert found.density.shape == (32 // stride, 64 // stride)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": {"stride": 16}}, "stride 16; the backbone's strides are"),
        ({"backbone": {"type": "VGG16", "strides": [1, 4], "weights": None}}, "twice the height"),
        ({"backbone": {"type": "MCNNColumns"}}, "stride 1; the backbone's strides are .4."),
        ({"backbone": {"channels": []}}, "at least one level"),
        ({"decoder": {"conv": {"type": "MDGC"}}}, "has no convolution to swap"),
    ],
)
def test_what_does_not_fit_says_why(changes, message):
    with pytest.raises(PartError, match=message):
        made(**changes)
