"""SASNet: its blend, its region loss and its size, against the facts."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from written_out import conv_norm_relu, convolved, leaves, unsettled

from cellbench.config.sources import config_folders, load_file
from cellbench.errors import PartError
from cellbench.models.build import build_counter
from cellbench.models.parts import DensityOutput, FeatureShape
from cellbench_plugins.methods.sasnet import PyramidRegionLoss, ScaleSelection

CONFIGS = config_folders()[-1] / "methods"
SHAPES = [FeatureShape(c, 2**i) for i, c in enumerate((64, 128, 256, 512, 512))]


def features(height, width, images=1):
    return [torch.rand(images, s.channels, height // s.stride, width // s.stride) for s in SHAPES]


def test_it_has_the_parameters_of_its_layers():
    made = build_counter(load_file(CONFIGS / "sasnet.py")["model"], load_weights=False)
    trunk = [3, 64, 64, 128, 128, 256, 256, 256] + [512] * 6
    # a batch-norm has two numbers a channel
    total = sum(9 * a * b + 3 * b for a, b in pairwise(trunk))
    steps = [(512, 1024, 512), (1024, 512, 256), (512, 256, 128), (256, 128, 64), (128, 64, 64)]
    for inputs, hidden, outputs in steps:
        total += 9 * inputs * hidden + hidden + 9 * hidden * outputs + outputs
        half = outputs // 2
        for taps in (1, 9, 25):
            total += outputs * half + 2 * half + half * outputs * taps + 2 * outputs
        total += 4 * outputs + 1
        total += outputs * half + half + half + 1
    assert sum(p.numel() for p in made.parameters()) == total


def test_the_map_is_the_blend_of_five_levels_by_their_confidences_in_each_patch():
    torch.manual_seed(0)
    decoder, maps = unsettled(ScaleSelection(SHAPES, None)), features(32, 64)
    densities, confidences, below = [], [], None
    for index in reversed(range(5)):
        x = maps[index]
        if below is not None:
            x = torch.cat([F.interpolate(below, scale_factor=2, mode="bilinear"), x], dim=1)
        for layer in leaves(decoder.steps[index]):
            x = F.relu(convolved(x, layer))
        below, head = x, decoder.densities[index]
        branches = [conv_norm_relu(x, *leaves(branch)) for branch in head.branches]
        density = F.relu(convolved(torch.cat([*branches, x], dim=1), head.density))
        densities.append(F.interpolate(density, size=(32, 64)))
        first, last = leaves(decoder.confidences[index])
        patches = F.adaptive_avg_pool2d(x, (1, 2))  # of 32 px
        confidences.append(convolved(F.relu(convolved(patches, first)), last))
    weights = F.interpolate(torch.cat(confidences, dim=1).sigmoid(), size=(32, 64)).softmax(dim=1)
    expected = (weights * torch.cat(densities, dim=1)).sum(dim=1, keepdim=True)
    torch.testing.assert_close(decoder(maps), expected, rtol=1e-4, atol=1e-5)


def test_no_level_weighs_more_than_e_times_another():
    torch.manual_seed(0)
    decoder = ScaleSelection(SHAPES, None).eval()
    with torch.no_grad():
        for index, (density, confidence) in enumerate(
            zip(decoder.densities, decoder.confidences, strict=True)
        ):
            density.density.weight.zero_()
            density.density.bias.fill_(float(index == 2))
            confidence[-1].weight.zero_()
            confidence[-1].bias.fill_(100.0 if index == 2 else -100.0)
        blended = decoder(features(64, 32))
    # one level of confidence 1 and four of 0
    torch.testing.assert_close(blended, torch.full((1, 1, 64, 32), math.e / (math.e + 4)))


def test_each_patch_chooses_for_itself():
    torch.manual_seed(0)
    decoder = ScaleSelection(SHAPES, None).eval()
    with torch.no_grad():
        maps = features(64, 64)
        before = decoder(maps)
        for index, confidence in enumerate(decoder.confidences):
            first = confidence[0]
            first.weight.mul_(3 - index)
        after = decoder(maps)
    ratio = (after / before)[0, 0]
    patches = ratio.unfold(0, 32, 32).unfold(1, 32, 32).flatten(2)
    assert patches.shape == (2, 2, 1024)
    assert not torch.allclose(after, before)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (160, 96), (48, 80)])
def test_the_map_has_the_size_of_the_image(height, width):
    assert ScaleSelection(SHAPES, None).eval()(features(height, width)).shape[2:] == (height, width)


def test_maps_that_do_not_fit_are_named():
    with pytest.raises(PartError, match=r"reads 5 maps .* not \[8\]"):
        ScaleSelection([FeatureShape(512, 8)], None)
    with pytest.raises(PartError, match="multiple of the coarsest stride, 16 px, not 24"):
        ScaleSelection(SHAPES, None, patch_px=24)


def brute_force(error, least):
    """How many regions of the path each place of one (n, n) map lies in, by recursion."""
    times = torch.zeros_like(error)
    top, left, size = 0, 0, len(error)
    while size // 2 >= least:
        size //= 2
        quadrants = [(top + i * size, left + j * size) for i in (0, 1) for j in (0, 1)]
        sums = [float(error[t : t + size, u : u + size].sum()) for t, u in quadrants]
        best = max(range(4), key=lambda k: sums[k])
        if sums[best] <= 0:
            break
        top, left = quadrants[best]
        times[top : top + size, left : left + size] += 1
    return times


def test_the_path_is_that_of_a_recursion():
    torch.manual_seed(0)
    errors = torch.randn(6, 1, 32, 32)
    errors[5] = -1  # nowhere too much: no path
    found = PyramidRegionLoss(least=4).times_in_path(errors)
    for own, error in zip(found, errors, strict=True):
        torch.testing.assert_close(own[0], brute_force(error[0], 4))
    assert found[:5].amax() == 3
    assert not found[5].any()


def test_too_much_costs_more_than_too_little():
    target = torch.rand(1, 1, 16, 16)
    valid = torch.ones_like(target, dtype=torch.bool)

    def loss(density):
        output = DensityOutput(density, density, 1, scale=10.0)
        return {k: float(v) for k, v in PyramidRegionLoss()(output, target, valid, None).items()}

    over, under = loss(target + 0.1), loss(target - 0.1)
    assert over["loss_density"] == pytest.approx(under["loss_density"], rel=1e-4)
    assert over["loss_density"] == pytest.approx(1.0, rel=1e-4)
    assert over["loss_region"] > 0
    assert under["loss_region"] == 0
    assert loss(target) == {"loss_density": 0, "loss_region": 0}


def test_padding_is_not_compared():
    density = torch.rand(1, 1, 16, 16)
    valid = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    valid[..., :8] = True
    target = torch.where(valid, density, 99.0)
    output = DensityOutput(density, density, 1)
    assert sum(map(float, PyramidRegionLoss()(output, target, valid, None).values())) == 0
