"""SFCN: messages against the loop that the paper describes, parameters against the facts."""

import pytest
import torch
import torch.nn.functional as F

from cellbench.config.sources import config_folders, load_file
from cellbench.errors import PartError
from cellbench.models.build import build_counter
from cellbench.models.parts import DensityOutput, FeatureShape
from cellbench_plugins.methods.sfcn import MessagePassing, SpatialEncoder

CONFIGS = config_folders()[-1] / "methods"
MESSAGES = 2 * (64 * 64 * 9 + 64)


def test_it_is_csrnet_and_two_convolutions_for_messages():
    made = build_counter(load_file(CONFIGS / "sfcn.py")["model"], load_weights=False)
    assert sum(p.numel() for p in made.parameters()) == 16_263_489 + MESSAGES


def test_the_resnet_form_has_the_parameters_of_its_layers():
    made = build_counter(load_file(CONFIGS / "sfcn_resnet101.py")["model"], load_weights=False)
    # bottlenecks without biases; a batch-norm has two numbers a channel
    stem = 3 * 64 * 49 + 2 * 64
    total = stem
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 23)):
        outputs = 4 * width
        total += inputs * outputs + 2 * outputs  # the shortcut of the first
        for _ in range(blocks):
            total += inputs * width + 9 * width * width + width * outputs + 4 * width + 2 * outputs
            inputs = outputs
    back = [(1024, 512), (512, 512), (512, 512), (512, 256), (256, 128), (128, 64)]
    total += sum(9 * a * b + b for a, b in back) + MESSAGES + 65
    assert sum(p.numel() for p in made.parameters()) == total


@pytest.mark.parametrize(("name", "stride"), [("sfcn_published", 8), ("mcnn_published", 4)])
def test_the_published_loss_has_the_gradient_of_the_public_one_at_stride_1(name, stride):
    """Which repeats each value of the map and compares it with a hundred times the target."""
    made = build_counter(load_file(CONFIGS / f"{name}.py")["model"], load_weights=False)
    torch.manual_seed(0)
    target, raw = 0.01 * torch.rand(2, 1, 32, 48), torch.rand(2, 1, 32 // stride, 48 // stride)
    raw.requires_grad_()
    public = F.mse_loss(F.interpolate(raw, scale_factor=stride), 100 * target)
    scale = made.readout.scale
    sums = stride**2 * F.avg_pool2d(target, stride)
    everywhere = torch.ones_like(sums, dtype=torch.bool)
    terms = made.criterion(DensityOutput(raw / scale, raw, stride, scale), sums, everywhere, None)
    expected, found = (
        torch.autograd.grad(loss, raw)[0] for loss in (public, terms["loss_density"])
    )
    torch.testing.assert_close(found, expected)


def test_messages_are_those_of_a_loop_over_single_cells():
    torch.manual_seed(0)
    passing = MessagePassing(3, reach=3, std=0.5)
    x = torch.randn(2, 3, 5, 4)
    weight, bias = passing.conv.weight, passing.conv.bias
    expected = x.clone()
    for order in ([1, 2, 3, 4], [3, 2, 1, 0]):
        for row in order:
            source = row - 1 if order[0] == 1 else row + 1
            padded = F.pad(expected[:, :, source], (1, 1))
            message = torch.stack(
                [
                    torch.einsum("bcu,ocu->bo", padded[:, :, j : j + 3], weight) + bias
                    for j in range(4)
                ],
                dim=2,
            )
            expected = expected.clone()
            expected[:, :, row] = expected[:, :, row] + message.relu()
    torch.testing.assert_close(passing(x), expected)


def test_after_both_passes_every_place_knows_of_every_other():
    torch.manual_seed(0)
    encoder = SpatialEncoder([FeatureShape(8, 8)], None, channels=8)
    with torch.no_grad():
        for passing in (encoder.rows, encoder.columns):
            passing.conv.weight.abs_()
    x = torch.rand(1, 8, 12, 14, requires_grad=True)
    encoder.columns(encoder.rows(x).mT).mT[0, :, 11, 13].sum().backward()
    assert (x.grad > 0).all()


def test_messages_go_down_and_up_and_then_right_and_left_through_kernels_across_their_way():
    torch.manual_seed(0)
    encoder = SpatialEncoder([FeatureShape(8, 8)], None, channels=6, reach=3)
    for passing in (encoder.rows, encoder.columns):
        torch.nn.init.normal_(passing.conv.weight, std=0.3)
    features = torch.rand(1, 8, 5, 7)
    expected = encoder.layers(features)
    for axis, passing, kernel in ((2, encoder.rows, (1, 3)), (3, encoder.columns, (3, 1))):
        weight = passing.conv.weight.reshape(6, 6, *kernel)
        lines = list(expected.split(1, dim=axis))
        there = [(i - 1, i) for i in range(1, len(lines))]
        for sender, receiver in [*there, *((b, a) for a, b in reversed(there))]:
            message = F.conv2d(lines[sender], weight, passing.conv.bias, padding="same")
            lines[receiver] = lines[receiver] + message.relu()
        expected = torch.cat(lines, dim=axis)
    torch.testing.assert_close(encoder([features]), expected)


def test_a_single_row_has_nobody_to_hear():
    x = torch.randn(1, 4, 1, 6)
    torch.testing.assert_close(MessagePassing(4, reach=3)(x), x)


def test_an_even_reach_is_refused():
    with pytest.raises(PartError, match="odd number of cells, not 8"):
        SpatialEncoder([FeatureShape(8, 8)], None, reach=8)
