"""Convolution by Fourier transforms against PyTorch's own."""

import pytest
import torch
from torch.nn import functional as F

from cellbench_plugins._ops.fourier import TILE, _waves, fourier_conv2d

shapes = pytest.mark.parametrize(
    ("size", "kernel"),
    [
        ((18, 18), (18, 18)),
        ((30, 41), (14, 14)),
        ((TILE + 13, 2 * TILE + 14), (14, 14)),
        ((TILE + 17, TILE + 18), (18, 18)),
        ((7, 9), (3, 2)),
    ],
)


@shapes
def test_it_says_what_conv2d_says(size, kernel):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    weight, bias = torch.randn(4, 3, *kernel, dtype=torch.float64), torch.randn(4).double()
    torch.testing.assert_close(fourier_conv2d(x, weight, bias), F.conv2d(x, weight, bias))


@shapes
def test_its_gradients_are_those_of_conv2d(size, kernel):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, *size).double(), torch.randn(5, 3, *kernel).double()]
    ours, theirs = ([t.clone().requires_grad_() for t in inputs] for _ in range(2))
    pull = torch.randn_like(F.conv2d(*inputs))
    (fourier_conv2d(*ours) * pull).sum().backward()
    (F.conv2d(*theirs) * pull).sum().backward()
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, wanted.grad)


@pytest.mark.parametrize("wanted", [0, 1])
def test_a_gradient_that_nobody_wants_is_not_computed(wanted):
    inputs = [torch.randn(1, 2, 20, 20), torch.randn(1, 2, 11, 12)]
    inputs[wanted].requires_grad_()
    fourier_conv2d(*inputs).sum().backward()
    assert inputs[wanted].grad is not None
    assert inputs[1 - wanted].grad is None


def test_float32_is_as_exact_as_a_network_needs():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 16, 70, 70), torch.randn(8, 16, 18, 18)
    exact = F.conv2d(x.double(), weight.double())
    error = (fourier_conv2d(x, weight) - exact).abs().max() / exact.abs().max()
    assert error < 1e-5


def test_a_kernel_larger_than_the_map_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        fourier_conv2d(torch.zeros(1, 1, 5, 20), torch.zeros(1, 1, 6, 6))


def test_what_a_captured_step_reads_stays_however_many_sizes_are_counted_after():
    # a replayed graph asks for nothing, so that its own would be the first to be given up
    def waves(period):
        return _waves(period, 2, 2, torch.float32, torch.device("cpu"))

    kept = waves(8)
    others = [waves(period) for period in range(10, 410, 2)]
    assert len({id(other) for other in others}) == 200
    assert waves(8) is kept
