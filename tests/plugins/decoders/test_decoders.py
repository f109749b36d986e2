"""Every pyramid with every convolution: shapes, gradients, memory layout, agreement.

Decoders that belong to one method are tested with it, and by the contracts of all counters.
"""

import math
from math import ceil

import pytest
import torch
from torch import nn

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape
from cellbench.plugin_index import entries
from cellbench.registry import CONVS, DECODERS
from cellbench_plugins.decoders.gfd import GFD

SHAPES = (FeatureShape(12, 4), FeatureShape(20, 8), FeatureShape(20, 16))
# The decoders of this family that take any convolution; `Identity` has a file of its own.
PYRAMIDS = sorted(
    entry.name
    for entry in entries()
    if entry.role == "decoder"
    and entry.module.startswith("cellbench_plugins.decoders.")
    and entry.name != "Identity"
)
PAIRS = [(d, c) for d in PYRAMIDS for c in CONVS.names()]


def build(decoder, conv="Standard", *, stride=4, channels=16, shapes=SHAPES):
    torch.manual_seed(0)
    made = DECODERS.build(
        {"type": decoder, "channels": channels, "stride": stride},
        in_shapes=shapes,
        conv=lambda i, o: CONVS.build({"type": conv}, in_channels=i, out_channels=o),
    )
    return made.to(memory_format=torch.channels_last)


def maps(height, width, *, images=1, shapes=SHAPES):
    chance = torch.Generator().manual_seed(1)
    sizes = [(s.channels, ceil(height / s.stride), ceil(width / s.stride)) for s in shapes]
    drawn = [torch.randn(images, *size, generator=chance) for size in sizes]
    return [x.contiguous(memory_format=torch.channels_last) for x in drawn]


@pytest.mark.parametrize(("decoder", "conv"), PAIRS)
@pytest.mark.parametrize("stride", [4, 8, 16])
def test_every_parameter_and_map_receive_a_gradient_at_the_start(decoder, conv, stride):
    made, features = build(decoder, conv, stride=stride), maps(64, 64, images=2)
    for feature in features:
        feature.requires_grad_()
    out = made(features)
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    silent = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert silent == []
    for feature, shape in zip(features, SHAPES, strict=True):
        assert (feature.grad is not None) == (shape.stride >= stride)


@pytest.mark.parametrize("decoder", PYRAMIDS)
@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("size", [(64, 64), (65, 79), (150, 150), (306, 322), (800, 785)])
def test_any_image_size_gives_the_map_of_its_stride(decoder, stride, size):
    made = build(decoder, stride=stride, channels=8)
    assert made.shape == FeatureShape(8, stride)
    with torch.no_grad():
        out = made(maps(*size))
    assert out.shape == (1, 8, ceil(size[0] / stride), ceil(size[1] / stride))


@pytest.mark.parametrize(("decoder", "conv"), PAIRS)
def test_channels_stay_last_in_memory(decoder, conv):
    out = build(decoder, conv)(maps(75, 91, images=2))
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("decoder", "conv"), PAIRS)
def test_an_image_alone_answers_as_in_a_batch(decoder, conv):
    made, features = build(decoder, conv).eval(), maps(75, 91, images=3)
    with torch.no_grad():
        alone, together = made([f[1:2] for f in features]), made(features)[1:2]
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("decoder", "conv"), PAIRS)
def test_training_and_evaluation_agree(decoder, conv):
    made, features = build(decoder, conv), maps(64, 64, images=2)
    with torch.no_grad():
        assert torch.equal(made.train()(features), made.eval()(features))


@pytest.mark.parametrize("decoder", PYRAMIDS)
def test_two_runs_are_equal_bit_for_bit(decoder):
    made, features = build(decoder, "MDGC"), maps(75, 91, images=2)
    results = []
    for _ in range(2):
        made.zero_grad()
        out = made(features)
        out.square().mean().backward()
        results.append([out, *(p.grad.clone() for p in made.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("decoder", PYRAMIDS)
def test_a_stride_that_the_backbone_lacks_is_refused_with_the_ones_it_has(decoder):
    with pytest.raises(PartError, match=r"\[4, 8, 16\], not 2"):
        build(decoder, stride=2)


@pytest.mark.parametrize("decoder", PYRAMIDS)
def test_levels_may_be_left_out(decoder):
    shapes = (FeatureShape(12, 2), FeatureShape(20, 16))
    made = build(decoder, stride=2, shapes=shapes)
    assert made(maps(75, 91, shapes=shapes)).shape[-2:] == (38, 46)


@pytest.mark.parametrize("decoder", PYRAMIDS)
def test_every_coarse_cell_lies_under_its_own_fine_cells(decoder):
    """A change at one coarse cell moves only fine cells within the reach of the convolutions."""
    made = build(decoder, stride=8).eval()
    before = maps(144, 192)
    after = [f.clone() for f in before]
    after[2][0, :, 4, 6] += 1.0
    with torch.no_grad():
        moved = (made(after) - made(before)).abs().amax(1)[0]
    rows, columns = moved.gt(1e-6).nonzero().unbind(1)
    middle = ((rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2)
    assert middle == (8.5, 12.5)


def test_gfd_starts_near_a_plain_fpn():
    gfd = GFD(SHAPES, lambda i, o: nn.Identity(), channels=16, stride=4)
    features = maps(64, 64)
    f5, f4, f3 = (lateral(f) for lateral, f in zip(gfd.laterals, features[::-1], strict=True))
    double = nn.Upsample(scale_factor=2)
    fpn = f3 + double(f4 + double(f5))
    error = (gfd(features) - fpn).square().mean().sqrt()
    assert error < 0.3 * fpn.std()


def test_gfd_is_its_gates_and_its_enhancement_written_out():
    torch.manual_seed(0)
    gfd = GFD(SHAPES[1:], lambda i, o: nn.Conv2d(i, o, 1), channels=16, stride=8).double()
    with torch.no_grad():  # away from the start, where gates are one half and nothing is lifted
        gfd.gates[0].gate.weight.mul_(30)
        gfd.attention.evidence.weight.mul_(30)
        gfd.attention.log_sigma.add_(0.2)
        gfd.attention.lift.fill_(1.7)
    f4, f5 = (f.double() for f in maps(64, 80)[1:])
    coarse = gfd.coarse_conv(gfd.laterals[0](f5))
    coarse = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    fine, gate = gfd.laterals[1](f4), gfd.gates[0]
    hidden = (gate.fine(fine) + gate.coarse(coarse)).clamp_min(0)
    g = 1 / (1 + (-gate.gate(hidden)).exp())
    assert g.std() > 0.1
    fused = gfd.fused_convs[0](2 * g * fine + 2 * (1 - g) * coarse)
    evidence = gfd.attention.evidence(fused)

    def smooth(width, sigma):
        away = torch.arange(width) - width // 2
        taps = (-(away[:, None] ** 2 + away**2) / (2 * sigma**2)).exp()[None, None].double()
        ones = torch.ones_like(evidence)
        total, mass = (nn.functional.conv2d(m, taps, padding="same") for m in (evidence, ones))
        return total / mass

    near, far = (0.8 * math.exp(0.2), 2.5 * math.exp(0.2))
    centre, surround = smooth(5, near), smooth(9, far)
    wanted = fused * 2 / (1 + (-(centre + 1.7 * (centre - surround))).exp())
    torch.testing.assert_close(gfd([f4, f5]), wanted, rtol=1e-5, atol=1e-6)


def test_gfd_attention_lifts_what_stands_out_over_its_surroundings():
    gfd = GFD(SHAPES, lambda i, o: nn.Identity(), channels=16, stride=4)
    attention = gfd.attention
    with torch.no_grad():
        attention.evidence.weight.fill_(0.2)
    x = torch.full((1, 16, 21, 21), 0.1)
    x[..., 10, 10] = 3.0
    with torch.no_grad():
        gain = (attention(x) / x)[0, 0]
    assert gain[10, 10] > 1.2 * gain[0, 0]
    torch.testing.assert_close(gain[0, 0], gain[0, 20])
