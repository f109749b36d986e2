"""Every registered convolution keeps the contract of the live path; MDGC keeps the paper's."""

import pytest
import torch
from torch import nn

from cellbench.errors import PartError
from cellbench.registry import CONVS
from cellbench_plugins.convs.mdgc import MDGC

CONFIGS = [
    *({"type": name} for name in CONVS.names()),
    {"type": "Standard", "kernel_size": 5, "norm": "group", "activation": "relu"},
    {"type": "Standard", "norm": "batch"},
    {"type": "MDGC", "parameters": "image"},
    {"type": "MDGC", "normalise": "density"},
    {"type": "MDGC", "scales": (3,), "reduction": 1},
]


@pytest.fixture(params=CONFIGS, ids=str)
def config(request):
    torch.manual_seed(0)
    return request.param


def build(config, in_channels=24, out_channels=24):
    conv = CONVS.build(config, in_channels=in_channels, out_channels=out_channels)
    return conv.to(memory_format=torch.channels_last)


def picture(*shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (19, 25)])
def test_height_and_width_stay(config, size):
    conv = build(config, 24, 40).eval()
    assert conv(picture(2, 24, *size)).shape == (2, 40, *size)


def test_channels_stay_last_in_memory(config):
    out = build(config)(picture(2, 24, 20, 9))
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("out_channels", [24, 40])
def test_every_parameter_and_the_input_receive_a_gradient_at_the_start(config, out_channels):
    conv = build(config, 24, out_channels)
    x = picture(4, 24, 8, 8).requires_grad_()
    out = conv(x)
    (out * picture(*out.shape)).sum().backward()
    silent = [n for n, p in conv.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert silent == []
    assert x.grad.isfinite().all()
    assert x.grad.abs().any()


def test_an_image_alone_answers_as_in_a_batch(config):
    conv = build(config).eval()
    x = picture(3, 24, 9, 20)
    torch.testing.assert_close(conv(x)[1:2], conv(x[1:2]), rtol=1e-4, atol=1e-5)


def test_two_runs_are_equal_bit_for_bit(config):
    conv, x = build(config), picture(2, 24, 20, 9)
    results = []
    for _ in range(2):
        conv.zero_grad()
        out = conv(x)
        out.square().mean().backward()
        results.append([out, *(p.grad.clone() for p in conv.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_bfloat16_autocast_answers_nearly_the_same(config):
    conv, x = build(config).eval(), picture(2, 24, 12, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = conv(x)
        half.float().square().mean().backward()
    torch.testing.assert_close(half.float(), conv(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "Standard", "kernel_size": 4},
        {"type": "Deformable", "kernel_size": 0},
        {"type": "MDGC", "scales": (3, 4)},
        {"type": "MDGC", "scales": ()},
        {"type": "MDGC", "reduction": 0},
    ],
)
def test_impossible_options_are_refused_in_a_sentence(wrong):
    with pytest.raises(PartError, match="wants"):
        build(wrong)


def test_deformable_starts_as_the_ordinary_convolution():
    conv = build({"type": "Deformable"})
    x = picture(2, 24, 7, 9)
    plain = nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(x), plain, rtol=1e-4, atol=1e-5)


def test_deformable_looks_where_its_offsets_say():
    conv = build({"type": "Deformable"})
    with torch.no_grad():
        conv.where.bias[1 : 2 * conv.taps : 2] = 1.0  # one pixel to the right, every tap
    x = picture(1, 24, 6, 8)
    plain = nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(
        conv(x)[..., :-1].contiguous()[..., 1:-1], plain[..., 2:-1], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("parameters", ["pixel", "image"])
def test_kernel_parameters_stay_in_the_ranges_of_the_paper(parameters):
    conv = MDGC(24, 24, parameters=parameters)
    for push in (-1e4, 1e4):
        with torch.no_grad():
            conv.predict.bias.fill_(push)
            sigma_x, sigma_y, dx, dy = conv.kernel_parameters(torch.zeros(1, 8, 3, 3))
        assert sigma_x.min() >= 1
        assert sigma_y.max() <= 10
        assert dx.abs().max() <= 2
        assert dy.abs().max() <= 2


def test_axial_scales_make_ellipses():
    conv = MDGC(24, 24)
    with torch.no_grad():
        conv.log_axes[0] += 1.0
        sigma_x, sigma_y, *_ = conv.kernel_parameters(torch.randn(1, 8, 3, 3))
    torch.testing.assert_close(sigma_x / sigma_y, torch.full_like(sigma_x, torch.e))


def test_pixel_parameters_that_ignore_the_pixel_equal_image_parameters():
    torch.manual_seed(0)
    by_pixel, by_image = MDGC(24, 24), MDGC(24, 24, parameters="image")
    state = {k: v for k, v in by_pixel.state_dict().items() if k != "predict.weight"}
    by_image.load_state_dict(state, strict=False)
    nn.init.zeros_(by_pixel.predict.weight)
    nn.init.zeros_(by_image.predict.weight)
    x = picture(2, 24, 21, 10)
    torch.testing.assert_close(by_pixel(x), by_image(x), rtol=1e-4, atol=1e-5)


def test_mdgc_starts_near_its_shortcut():
    torch.manual_seed(0)
    x = picture(4, 64, 8, 8)
    assert (MDGC(64, 64)(x) - x).square().mean().sqrt() < 0.3


def test_attention_is_alpha_plus_the_mean_of_the_features():
    """Eq. 4 of DLA-Count: alpha' = alpha + GAP(F_cat), and alpha' weighs F_cat."""
    torch.manual_seed(0)
    conv = MDGC(24, 24)
    nn.init.zeros_(conv.attention[-2].weight)
    nn.init.zeros_(conv.attention[-2].bias)  # alpha is 1/2 everywhere
    seen = {}
    conv.pointwise.register_forward_hook(lambda _, inputs, out: seen.update(features=out.relu()))
    conv.project.register_forward_hook(lambda _, inputs, out: seen.update(weighed=inputs[0]))
    conv(picture(2, 24, 9, 7))
    features = seen["features"]
    means = features.sum(dim=(2, 3), keepdim=True) / (9 * 7)
    assert means.mean() > 0.05, "too small to be missed"
    torch.testing.assert_close(seen["weighed"], features * (0.5 + means))
