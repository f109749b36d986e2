"""PGC-Net: gradients held back on the skips, and the channel attention without parameters."""

import pytest
import torch
import torch.nn.functional as F
from written_out import conv_norm_relu, convolved, leaves, unsettled

from cellbench.config.compose import merge
from cellbench.config.sources import find_config, load_file
from cellbench.errors import PartError
from cellbench.models.build import build_counter
from cellbench.models.parts import FeatureShape
from cellbench_plugins.methods.pgcnet import (
    PGCNetDecoder,
    PGCNetEncoder,
    attend_channels,
    scale_gradient,
)


def made(**changes):
    model = load_file(find_config("methods/pgcnet.py"))["model"]
    return build_counter(merge(model, changes))


def test_it_has_as_many_parameters_as_its_layers():
    def conv(inputs, outputs):
        return 9 * inputs * outputs + 2 * outputs

    def block(inputs, outputs):
        return conv(inputs, outputs) + conv(outputs, outputs)

    encoder = block(3, 32) + block(32, 64) + block(64, 128) + block(128, 256)
    downs = sum(4 * c + c for c in (32, 64, 128))
    ups = sum(4 * 2 * c + 2 * c + 2 * c * c + c for c in (128, 64, 32))
    decoder = sum(block(2 * c, c) for c in (128, 64, 32)) + conv(32, 32)
    attention = 4 * 256 * 256 + 2 * 256 + 2 * 256
    found = sum(p.numel() for p in made().parameters())
    assert found == encoder + downs + ups + decoder + attention + 32 + 1


def test_going_forward_nothing_changes_going_back_the_gradient_is_multiplied():
    features = torch.randn(2, 3, requires_grad=True)
    out = scale_gradient(features, 0.4)
    assert out.equal(features)
    out.square().sum().backward()
    torch.testing.assert_close(features.grad, 0.4 * 2 * features.detach())


def test_it_computes_what_its_levels_do_one_after_another():
    torch.manual_seed(0)
    encoder = unsettled(PGCNetEncoder(channels=(4, 8, 16)))
    decoder = unsettled(PGCNetDecoder(encoder.shapes, conv=None))
    pixels = torch.rand(1, 3, 16, 24)

    def lowered(x, layer):
        return convolved(x, layer, stride=2, padding=0, groups=x.shape[1])

    def raised(x, grow, mix):
        x = F.conv_transpose2d(x, grow.weight, grow.bias, stride=2, groups=x.shape[1])
        return convolved(x, mix)

    first = conv_norm_relu(pixels, *leaves(encoder.levels[0]))
    second = conv_norm_relu(lowered(first, encoder.downs[1]), *leaves(encoder.levels[1]))
    third = conv_norm_relu(lowered(second, encoder.downs[2]), *leaves(encoder.levels[2]))
    x = raised(decoder.attention(third), *leaves(decoder.ups[0]))
    x = conv_norm_relu(torch.cat([second, x], dim=1), *leaves(decoder.levels[0]))
    finest = conv_norm_relu(first, *leaves(decoder.extra))
    x = torch.cat([finest, raised(x, *leaves(decoder.ups[1]))], dim=1)
    expected = conv_norm_relu(attend_channels(x), *leaves(decoder.levels[1]))
    torch.testing.assert_close(decoder(encoder(pixels)), expected)


def skip_gradients(gradient):
    torch.manual_seed(0)
    shapes = [FeatureShape(4, 2**level) for level in range(4)]
    decoder = PGCNetDecoder(shapes, conv=None, gradient=gradient).eval()
    maps = [torch.randn(1, 4, 16 >> i, 16 >> i, requires_grad=True) for i in range(4)]
    decoder(maps).square().sum().backward()
    return [m.grad for m in maps]


def test_each_skip_has_the_factor_of_its_level_and_the_path_below_has_none():
    free, held = skip_gradients((1.0, 1.0, 1.0)), skip_gradients((0.4, 0.8, 0.5))
    for plain, controlled, factor in zip(free, held, (0.4, 0.8, 0.5, 1.0), strict=True):
        assert plain.abs().max() > 0
        torch.testing.assert_close(controlled, factor * plain)


def test_of_missing_factors_the_skip_is_free_and_negative_ones_are_refused():
    free, held = skip_gradients((1.0, 1.0, 1.0)), skip_gradients((0.4,))
    torch.testing.assert_close(held[0], 0.4 * free[0])
    torch.testing.assert_close(held[2], free[2])
    with pytest.raises(PartError, match="gradient: factors are at least 0"):
        skip_gradients((-1.0,))


def test_channels_are_weighted_by_how_far_they_agree_with_the_mean_answer():
    features = torch.randn(2, 6, 4, 5)
    expected = []
    for own in features:
        g = own.mean(dim=(1, 2))[:, None]  # (C, 1)
        weights = torch.softmax(g @ g.T @ g, dim=0)[:, :, None]
        expected.append(own + weights * own)
    torch.testing.assert_close(attend_channels(features), torch.stack(expected))


def test_its_default_factors_are_the_published_ones():
    assert list(made().decoder.gradient) == [0.4, 0.8, 0.4]
