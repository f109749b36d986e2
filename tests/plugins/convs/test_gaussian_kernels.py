"""Gaussian kernels per pixel and per image against plain loops and explicit kernels."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from cellbench.models.parts import FeatureShape
from cellbench.registry import CONVS, DECODERS
from cellbench_plugins._ops.gaussian import gaussian_imagewise, gaussian_pixelwise

SIZES = (3, 5, 7, 9)
# One tile, one row or column, tiles cut at odd places, several tiles each way.
SHAPES = [(1, 1), (1, 7), (5, 3), (16, 16), (17, 9), (3, 30), (25, 20)]


def draw(shape, *, images=2, channels=3, sizes=SIZES, seed=0):
    """A map and parameters over their whole range, the ends included."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(images, channels, *shape)))
    grid = (images, len(sizes), *shape)
    sigma_x, sigma_y = (torch.from_numpy(rng.uniform(1, 10, grid)) for _ in range(2))
    dx, dy = (torch.from_numpy(rng.uniform(-2, 2, grid)) for _ in range(2))
    for parameter, ends in ((sigma_x, (1, 10)), (sigma_y, (10, 1)), (dx, (-2, 2)), (dy, (2, -2))):
        flat = parameter.view(-1)
        flat[::5], flat[1::5] = ends
    return x, sigma_x, sigma_y, dx, dy


def by_loops(x, sigma_x, sigma_y, dx, dy, sizes, normalise):
    """Eq. 3 tap by tap: the slow truth for values."""
    images, channels, height, width = x.shape
    x, sigma_x, sigma_y, dx, dy = (t.numpy() for t in (x, sigma_x, sigma_y, dx, dy))
    out = np.zeros((images, len(sizes), channels, height, width))
    for b, s, i, j in np.ndindex(images, len(sizes), height, width):
        at = (b, s, i, j)
        reach = range(-(sizes[s] // 2), sizes[s] // 2 + 1)
        mass = 0.0
        for u in reach:
            for v in reach:
                if not (0 <= i + v < height and 0 <= j + u < width):
                    continue
                k = math.exp(
                    -((u - dx[at]) ** 2) / (2 * sigma_x[at] ** 2)
                    - (v - dy[at]) ** 2 / (2 * sigma_y[at] ** 2)
                ) / (2 * math.pi * sigma_x[at] * sigma_y[at])
                mass += k
                out[b, s, :, i, j] += k * x[b, :, i + v, j + u]
        if normalise == "unit":
            out[b, s, :, i, j] /= mass
    return torch.from_numpy(out.reshape(images, -1, height, width))


def by_explicit_kernels(x, sigma_x, sigma_y, dx, dy, sizes, normalise):
    """Every kernel and every patch written out: the differentiable truth."""
    out = []
    for s, k in enumerate(sizes):
        taps = torch.arange(k, dtype=x.dtype) - k // 2
        v, u = (t.reshape(1, -1, 1, 1) for t in torch.meshgrid(taps, taps, indexing="ij"))
        sx, sy, ox, oy = (p[:, s, None] for p in (sigma_x, sigma_y, dx, dy))
        kernel = torch.exp(-((u - ox) ** 2) / (2 * sx**2) - (v - oy) ** 2 / (2 * sy**2))
        kernel = kernel / (2 * math.pi * sx * sy)  # (B, k * k, H, W)
        ones = torch.ones_like(x[:, :1])
        inside = F.unfold(ones, k, padding=k // 2).view(kernel.shape)
        if normalise == "unit":
            kernel = kernel * inside / (kernel * inside).sum(1, keepdim=True)
        patches = F.unfold(x, k, padding=k // 2).view(*x.shape[:2], k * k, *x.shape[2:])
        out.append((patches * kernel[:, None]).sum(2))
    return torch.cat(out, 1)


@pytest.mark.parametrize("normalise", ["unit", "density"])
def test_mdgc_is_its_two_paths_and_its_attention_written_out(normalise):
    torch.manual_seed(0)
    options = {"type": "MDGC", "scales": (3, 5), "normalise": normalise}
    conv = CONVS.build(options, in_channels=32, out_channels=12).double()
    with torch.no_grad():  # away from the start, where kernels are nearly alike at all pixels
        conv.predict.weight.mul_(200)
        conv.log_axes.copy_(torch.tensor([[0.3, -0.2], [-0.1, 0.4]]))
    x = torch.randn(2, 32, 5, 6, dtype=torch.float64)
    reduced = F.conv2d(x, conv.reduce.weight)
    spread = (reduced.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    reduced = ((reduced - reduced.mean(1, keepdim=True)) / spread).clamp_min(0)
    paths = [
        F.conv2d(reduced, own.weight, padding=size // 2, groups=8)
        for own, size in zip(conv.depthwise, (3, 5), strict=True)
    ]
    raw = F.conv2d(reduced, conv.predict.weight, conv.predict.bias, padding=1)
    sigma, dx, dy = 1 + 9 * raw[:, :2].sigmoid(), 2 * raw[:, 2:4].tanh(), 2 * raw[:, 4:].tanh()
    assert sigma.std() > 0.5
    s_x, s_y = conv.log_axes.exp()[:, None, :, None, None]
    given = (s_x * sigma, s_y * sigma, dx, dy)
    paths.append(by_explicit_kernels(reduced, *given, (3, 5), normalise))
    cat = F.conv2d(torch.cat(paths, 1), conv.pointwise.weight, conv.pointwise.bias, groups=4)
    cat = cat.clamp_min(0)
    pooled = cat.mean((2, 3))
    first, last = conv.attention[0], conv.attention[2]
    alpha = last(first(pooled).clamp_min(0)).sigmoid()
    weighed = cat * (alpha + pooled)[:, :, None, None]
    wanted = conv.shortcut(x) + F.conv2d(weighed, conv.project.weight, conv.project.bias)
    torch.testing.assert_close(conv(x), wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("normalise", ["unit", "density"])
@pytest.mark.parametrize("shape", SHAPES[:-1])
def test_pixel_kernels_are_equation_3(shape, normalise):
    given = draw(shape, images=1, channels=2)
    found = gaussian_pixelwise(*given, sizes=SIZES, normalise=normalise)
    torch.testing.assert_close(found, by_loops(*given, SIZES, normalise), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("normalise", ["unit", "density"])
@pytest.mark.parametrize("shape", SHAPES)
def test_tap_by_tap_as_in_an_export_they_are_the_same(shape, normalise, monkeypatch):
    given = draw(shape)
    truth = gaussian_pixelwise(*given, sizes=SIZES, normalise=normalise)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    found = gaussian_pixelwise(*given, sizes=SIZES, normalise=normalise)
    torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("normalise", ["unit", "density"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_explicit_kernels(shape, normalise):
    given = [t.requires_grad_() for t in draw(shape)]
    truth = by_explicit_kernels(*given, SIZES, normalise)
    found = gaussian_pixelwise(*given, sizes=SIZES, normalise=normalise)
    torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-12)
    outer = torch.from_numpy(np.random.default_rng(1).normal(size=truth.shape))
    for ours, theirs in zip(
        torch.autograd.grad(found, given, outer),
        torch.autograd.grad(truth, given, outer),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("normalise", ["unit", "density"])
@pytest.mark.parametrize(("shape", "sizes"), [((2, 3), (3, 5)), ((18, 1), (3, 9)), ((1, 20), (7,))])
def test_gradients_are_finite_differences(shape, sizes, normalise):
    given = [t.requires_grad_() for t in draw(shape, images=1, channels=2, sizes=sizes)]
    function = partial(gaussian_pixelwise, sizes=sizes, normalise=normalise)
    assert torch.autograd.gradcheck(function, given, fast_mode=True)


@pytest.mark.parametrize("normalise", ["unit", "density"])
@pytest.mark.parametrize("shape", SHAPES)
def test_constant_pixel_parameters_equal_image_parameters(shape, normalise):
    x, *grids = draw(shape)
    per_image = [grid[:, :, 0, 0].clone().requires_grad_() for grid in grids]
    per_pixel = [p[:, :, None, None].expand(-1, -1, *shape) for p in per_image]
    x.requires_grad_()
    fast = gaussian_imagewise(x, *per_image, sizes=SIZES, normalise=normalise)
    slow = gaussian_pixelwise(x, *per_pixel, sizes=SIZES, normalise=normalise)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)
    outer = torch.randn(fast.shape, dtype=fast.dtype, generator=torch.Generator().manual_seed(0))
    ours = torch.autograd.grad(fast, [x, *per_image], outer)
    theirs = torch.autograd.grad(slow, [x, *per_image], outer)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("apply", [gaussian_pixelwise, gaussian_imagewise])
def test_unit_sum_leaves_a_constant_map_alone_up_to_its_border(apply):
    x, *grids = (t.float() for t in draw((19, 23)))
    if apply is gaussian_imagewise:
        grids = [grid[:, :, 0, 0] for grid in grids]
    out = apply(torch.full_like(x, 3.0), *grids, sizes=SIZES, normalise="unit")
    torch.testing.assert_close(out, torch.full_like(out, 3.0))


@pytest.mark.parametrize("apply", [gaussian_pixelwise, gaussian_imagewise])
@pytest.mark.parametrize("normalise", ["unit", "density"])
@pytest.mark.parametrize("sigma", [0.0, 1e-30, 1e-3, 1e4, 1e18])
def test_absurd_deviations_stay_finite_in_value_and_gradient(apply, normalise, sigma):
    x, _, _, dx, _ = (t.float() for t in draw((2, 18)))
    shape = dx.shape if apply is gaussian_pixelwise else dx.shape[:2]
    given = [x, *(torch.full(shape, sigma) for _ in range(2))]
    given += [torch.full(shape, 2.0), torch.full(shape, -2.0)]
    for t in given:
        t.requires_grad_()
    out = apply(*given, sizes=SIZES, normalise=normalise)
    assert out.isfinite().all()
    for gradient in torch.autograd.grad(out.sum(), given):
        assert gradient.isfinite().all()


def test_float32_and_bfloat16_agree_with_float64():
    given = draw((20, 20))
    truth = gaussian_pixelwise(*given, sizes=SIZES)
    single = gaussian_pixelwise(*(t.float() for t in given), sizes=SIZES)
    half = gaussian_pixelwise(given[0].bfloat16(), *(t.float() for t in given[1:]), sizes=SIZES)
    assert (single.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(single.double(), truth, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(half.double(), truth, rtol=0.03, atol=0.03)


class Largest(TorchDispatchMode):
    """Remembers the most elements that any operation put out in memory of its own."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else (out,):
            if isinstance(t, torch.Tensor):
                stored = t.untyped_storage().nbytes() // t.element_size()
                self.elements = max(self.elements, stored)
        return out


def test_no_tensor_ever_holds_all_taps():
    x, *grids = (t.float() for t in draw((48, 48), channels=32))
    given = [x.contiguous(memory_format=torch.channels_last).requires_grad_(), *grids]
    with Largest() as largest:
        gaussian_pixelwise(*given, sizes=SIZES).sum().backward()
    assert given[0].grad is not None
    taps = sum(size**2 for size in SIZES)
    assert largest.elements < x.numel() * taps / 20


@pytest.mark.parametrize("apply", [gaussian_pixelwise, gaussian_imagewise])
@pytest.mark.parametrize("shape", [(4, 4), (21, 30)])
def test_channels_come_last_in_memory(apply, shape):
    x, *grids = (t.float() for t in draw(shape, channels=8))
    if apply is gaussian_imagewise:
        grids = [grid[:, :, 0, 0] for grid in grids]
    out = apply(x.contiguous(memory_format=torch.channels_last), *grids, sizes=SIZES)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(20, 4), (60, 70)])  # one tile, several
def test_an_empty_batch_gives_an_empty_batch(shape):
    given = [t[:0].requires_grad_() for t in draw(shape)]
    out = gaussian_pixelwise(*given, sizes=SIZES)
    assert out.shape == (0, 12, *shape)
    out.sum().backward()


def test_an_even_size_is_refused():
    x, *grids = draw((4, 4), sizes=(4,))
    with pytest.raises(ValueError, match="odd"):
        gaussian_pixelwise(x, *grids, sizes=(4,))


# What copies to or from the host; a CUDA graph can hold none of these.
HOST = {"aten.lift_fresh.default", "aten._local_scalar_dense.default", "aten.nonzero.default"}


class Called(TorchDispatchMode):
    """Remembers the names of all operations."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("part", ["MDGC", "GFD"])
def test_nothing_is_copied_from_or_to_the_host(part):
    mdgc = CONVS.get("MDGC")
    if part == "MDGC":
        module, features = mdgc(16, 16), torch.randn(2, 16, 18, 4)
    else:
        shapes = [FeatureShape(8, 4), FeatureShape(8, 8)]
        module = DECODERS.get("GFD")(shapes, mdgc, channels=16, stride=4)
        features = [torch.randn(2, 8, 8, 8), torch.randn(2, 8, 4, 4)]
    with Called() as called:
        module(features).sum().backward()
    assert "aten.bmm.out" in called.names
    assert not called.names & HOST
