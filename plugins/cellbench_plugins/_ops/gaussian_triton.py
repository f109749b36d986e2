"""Gaussian kernels per pixel as three Triton kernels: forward, and one for each gradient.

The results are those of `gaussian_tiles`. The Gaussian kernels are not stored: their weights are
computed from the pixel's parameters where they are used, and only the normalising factors are kept
for the backward pass. All sums are in float32 and in a fixed order, without atomic additions.

A weight is factor * exp((n^2 - z^2) / 2) with z = (tap - offset) / sigma. For unit sum, n is the
z of the tap nearest to the centre, so that the largest exponent is 0; for a density, n is 0. The
exponent is computed as (n - z)(n + z) / 2, which is exactly 0 at that tap for any sigma.

Import it only if CUDA and Triton are available; with TRITON_INTERPRET=1 it also runs on a CPU.
"""

import math
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

# Pixels and channels per program.
_PIXELS, _CHANNELS = 16, 64
# All radii are passed to a kernel in one integer, with this many bits each.
_BITS = 8

_INVERSE_ROOT = tl.constexpr(1 / math.sqrt(2 * math.pi))


def supports(dtype: torch.dtype, radii: tuple[int, ...]) -> bool:
    """Return whether the kernels support maps of this type and supports of these radii."""
    small = len(radii) * _BITS < 63 and max(radii) < 2**_BITS
    return small and dtype in (torch.float32, torch.bfloat16, torch.float16)


def forward(
    rows: Tensor, parameters: Tensor, radii: tuple[int, ...], unit: bool
) -> tuple[Tensor, Tensor]:
    """Convolve; see `gaussian_tiles.forward`.

    Args:
        rows: (B, H, W, C) float32, bfloat16 or float16.
        parameters: (B, H, W, 4 S) float32.
        radii: S radii, px.
        unit: normalise to unit sum.

    Returns:
        (B, H, W, S C) of the type of `rows`; (B, H, W, 2 S) factors for `backward`.
    """
    rows, parameters = rows.contiguous(), parameters.contiguous()
    images, height, width, channels = rows.shape
    scales = len(radii)
    out = rows.new_empty(images, height, width, scales * channels)
    factors = parameters.new_empty(images, height, width, 2 * scales)
    pixels = images * height * width
    block = _block(channels)
    grid = (triton.cdiv(pixels, _PIXELS), scales, triton.cdiv(channels, block))
    with _on(rows):
        _forward[grid](
            rows,
            parameters,
            out,
            factors,
            pixels,
            height,
            width,
            CHANNELS=channels,
            SCALES=scales,
            RADII=_packed(radii),
            UNIT=unit,
            BLOCK=_PIXELS,
            BLOCK_C=block,
        )
    return out, factors


def backward(
    grad: Tensor,
    rows: Tensor,
    parameters: Tensor,
    factors: Tensor,
    radii: tuple[int, ...],
    unit: bool,
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of the map and of the parameters.

    Args:
        grad: (B, H, W, S C) gradient of the output of `forward`.
        rows: argument of `forward`.
        parameters: argument of `forward`.
        factors: result of `forward`.
        radii: argument of `forward`.
        unit: argument of `forward`.

    Returns:
        (B, H, W, C) of the type of `rows`; (B, H, W, 4 S) float32.
    """
    grad, rows, parameters = grad.contiguous(), rows.contiguous(), parameters.contiguous()
    images, height, width, channels = rows.shape
    scales = len(radii)
    grad_rows, grad_parameters = torch.empty_like(rows), torch.empty_like(parameters)
    pixels = images * height * width
    block = _block(channels)
    blocks = triton.cdiv(pixels, _PIXELS)
    with _on(rows):
        _backward_map[blocks, triton.cdiv(channels, block)](
            grad,
            parameters,
            factors,
            grad_rows,
            pixels,
            height,
            width,
            CHANNELS=channels,
            SCALES=scales,
            RADII=_packed(radii),
            UNIT=unit,
            BLOCK=_PIXELS,
            BLOCK_C=block,
        )
        _backward_parameters[blocks, scales](
            grad,
            rows,
            parameters,
            factors,
            grad_parameters,
            pixels,
            height,
            width,
            CHANNELS=channels,
            SCALES=scales,
            RADII=_packed(radii),
            UNIT=unit,
            BLOCK=_PIXELS,
            BLOCK_C=block,
        )
    return grad_rows, grad_parameters


def _packed(radii: tuple[int, ...]) -> int:
    return sum(radius << (_BITS * index) for index, radius in enumerate(radii))


def _block(channels: int) -> int:
    return min(_CHANNELS, max(16, triton.next_power_of_2(channels)))


def _on(rows: Tensor) -> "torch.cuda.device | nullcontext[None]":
    """Return a context with the tensor's device as the current one, on which Triton launches."""
    return torch.cuda.device(rows.device) if rows.is_cuda else nullcontext()


@triton.jit
def _nearest(sigma, offset, low, high, UNIT: tl.constexpr):
    """Compute the z of the allowed tap nearest to the centre; 0 for a density."""
    if UNIT:
        tap = tl.floor(offset + 0.5)
        tap = tl.minimum(tl.maximum(tap, low.to(tl.float32)), high.to(tl.float32))
        n = (tap - offset) / sigma
    else:
        n = offset * 0.0
    return n


@triton.jit
def _factor(sigma, offset, n, low, high, radius, UNIT: tl.constexpr):
    """Compute the normalising factor of the exponentials of one axis."""
    if UNIT:
        total = offset * 0.0
        for tap in range(-radius, radius + 1):
            z = (tap - offset) / sigma
            allowed = (tap >= low) & (tap <= high)
            # where() inside: beyond the map a tap may be nearer, and its exponential infinite
            exponent = tl.where(allowed, 0.5 * (n - z) * (n + z), -float("inf"))
            total += tl.exp(exponent)
        factor = 1.0 / total
    else:
        factor = _INVERSE_ROOT / sigma
    return factor


@triton.jit(do_not_specialize=["pixels", "height", "width"])
def _forward(
    x,
    parameters,
    out,
    factors,
    pixels,
    height,
    width,
    CHANNELS: tl.constexpr,
    SCALES: tl.constexpr,
    RADII: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Convolve a block of pixels and channels at one scale."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    scale = tl.program_id(1)
    channel = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    radius = (RADII >> (8 * scale)) & 255
    inside = at < pixels
    column, row = at % width, (at // width) % height
    own = parameters + at.to(tl.int64) * (4 * SCALES) + scale
    sx = tl.load(own, mask=inside, other=1.0)
    sy = tl.load(own + SCALES, mask=inside, other=1.0)
    dx = tl.load(own + 2 * SCALES, mask=inside, other=0.0)
    dy = tl.load(own + 3 * SCALES, mask=inside, other=0.0)
    left, right = tl.maximum(-radius, -column), tl.minimum(radius, width - 1 - column)
    top, bottom = tl.maximum(-radius, -row), tl.minimum(radius, height - 1 - row)
    nx, ny = _nearest(sx, dx, left, right, UNIT), _nearest(sy, dy, top, bottom, UNIT)
    fx = _factor(sx, dx, nx, left, right, radius, UNIT)
    fy = _factor(sy, dy, ny, top, bottom, radius, UNIT)
    seen = x + at.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
    total = tl.zeros((BLOCK, BLOCK_C), dtype=tl.float32)
    for v in range(-radius, radius + 1):
        zy = (v - dy) / sy
        allowed_y = inside & (v >= top) & (v <= bottom)
        wy = tl.where(allowed_y, fy * tl.exp(0.5 * (ny - zy) * (ny + zy)), 0.0)
        along = tl.zeros((BLOCK, BLOCK_C), dtype=tl.float32)
        for u in range(-radius, radius + 1):
            zx = (u - dx) / sx
            allowed = allowed_y & (u >= left) & (u <= right)
            wx = tl.where(allowed, fx * tl.exp(0.5 * (nx - zx) * (nx + zx)), 0.0)
            mask = allowed[:, None] & (channel < CHANNELS)[None, :]
            value = tl.load(seen + (v * width + u) * CHANNELS, mask=mask, other=0.0)
            along += wx[:, None] * value.to(tl.float32)
        total += wy[:, None] * along
    to = out + at.to(tl.int64)[:, None] * (SCALES * CHANNELS) + scale * CHANNELS + channel[None, :]
    mask = inside[:, None] & (channel < CHANNELS)[None, :]
    tl.store(to, total.to(out.dtype.element_ty), mask=mask)
    if tl.program_id(2) == 0:
        kept = factors + at.to(tl.int64) * (2 * SCALES) + scale
        tl.store(kept, fx, mask=inside)
        tl.store(kept + SCALES, fy, mask=inside)


@triton.jit(do_not_specialize=["pixels", "height", "width"])
def _backward_map(
    grad,
    parameters,
    factors,
    grad_x,
    pixels,
    height,
    width,
    CHANNELS: tl.constexpr,
    SCALES: tl.constexpr,
    RADII: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Compute the gradient of a block of the map from all pixels whose support contains it."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = at < pixels
    column, row = at % width, (at // width) % height
    total = tl.zeros((BLOCK, BLOCK_C), dtype=tl.float32)
    for scale in range(SCALES):
        radius = (RADII >> (8 * scale)) & 255
        for v in range(-radius, radius + 1):
            for u in range(-radius, radius + 1):
                own_row, own_column = row - v, column - u
                allowed = inside & (own_row >= 0) & (own_row < height)
                allowed = allowed & (own_column >= 0) & (own_column < width)
                pixel = at.to(tl.int64) - v * width - u
                own = parameters + pixel * (4 * SCALES) + scale
                sx = tl.load(own, mask=allowed, other=1.0)
                sy = tl.load(own + SCALES, mask=allowed, other=1.0)
                dx = tl.load(own + 2 * SCALES, mask=allowed, other=0.0)
                dy = tl.load(own + 3 * SCALES, mask=allowed, other=0.0)
                kept = factors + pixel * (2 * SCALES) + scale
                fx = tl.load(kept, mask=allowed, other=0.0)
                fy = tl.load(kept + SCALES, mask=allowed, other=0.0)
                left = tl.maximum(-radius, -own_column)
                right = tl.minimum(radius, width - 1 - own_column)
                top = tl.maximum(-radius, -own_row)
                bottom = tl.minimum(radius, height - 1 - own_row)
                nx = _nearest(sx, dx, left, right, UNIT)
                ny = _nearest(sy, dy, top, bottom, UNIT)
                zx, zy = (u - dx) / sx, (v - dy) / sy
                weight = fx * tl.exp(0.5 * (nx - zx) * (nx + zx))
                weight = weight * fy * tl.exp(0.5 * (ny - zy) * (ny + zy))
                weight = tl.where(allowed, weight, 0.0)
                of = grad + pixel[:, None] * (SCALES * CHANNELS) + scale * CHANNELS
                mask = allowed[:, None] & (channel < CHANNELS)[None, :]
                value = tl.load(of + channel[None, :], mask=mask, other=0.0)
                total += weight[:, None] * value.to(tl.float32)
    to = grad_x + at.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
    mask = inside[:, None] & (channel < CHANNELS)[None, :]
    tl.store(to, total.to(grad_x.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["pixels", "height", "width"])
def _backward_parameters(
    grad,
    x,
    parameters,
    factors,
    grad_parameters,
    pixels,
    height,
    width,
    CHANNELS: tl.constexpr,
    SCALES: tl.constexpr,
    RADII: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Compute the gradients of the parameters of a block of pixels at one scale.

    With K the kernel and q the product of the gradient and the tap's value over the channels,
    d offset = sum K q z / sigma and d sigma = sum K q z^2 / sigma, each minus the contribution of
    the normalisation: the sum of K q times the mean of z or z^2. Subtracting n from z, and n^2 from
    z^2, does not change these differences.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    scale = tl.program_id(1)
    radius = (RADII >> (8 * scale)) & 255
    inside = at < pixels
    column, row = at % width, (at // width) % height
    own = parameters + at.to(tl.int64) * (4 * SCALES) + scale
    sx = tl.load(own, mask=inside, other=1.0)
    sy = tl.load(own + SCALES, mask=inside, other=1.0)
    dx = tl.load(own + 2 * SCALES, mask=inside, other=0.0)
    dy = tl.load(own + 3 * SCALES, mask=inside, other=0.0)
    kept = factors + at.to(tl.int64) * (2 * SCALES) + scale
    fx = tl.load(kept, mask=inside, other=0.0)
    fy = tl.load(kept + SCALES, mask=inside, other=0.0)
    left, right = tl.maximum(-radius, -column), tl.minimum(radius, width - 1 - column)
    top, bottom = tl.maximum(-radius, -row), tl.minimum(radius, height - 1 - row)
    nx, ny = _nearest(sx, dx, left, right, UNIT), _nearest(sy, dy, top, bottom, UNIT)
    all_q, x_1, x_2, y_1, y_2 = (
        sx * 0.0,
        sx * 0.0,
        sx * 0.0,
        sx * 0.0,
        sx * 0.0,
    )
    for first in range(0, CHANNELS, BLOCK_C):
        channel = first + tl.arange(0, BLOCK_C)
        known = (channel < CHANNELS)[None, :]
        of = grad + at.to(tl.int64)[:, None] * (SCALES * CHANNELS) + scale * CHANNELS
        g = tl.load(of + channel[None, :], mask=inside[:, None] & known, other=0.0)
        g = g.to(tl.float32)
        seen = x + at.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
        for v in range(-radius, radius + 1):
            zy = (v - dy) / sy
            allowed_y = inside & (v >= top) & (v <= bottom)
            wy = tl.where(allowed_y, fy * tl.exp(0.5 * (ny - zy) * (ny + zy)), 0.0)
            for u in range(-radius, radius + 1):
                zx = (u - dx) / sx
                allowed = allowed_y & (u >= left) & (u <= right)
                wx = tl.where(allowed, fx * tl.exp(0.5 * (nx - zx) * (nx + zx)), 0.0)
                mask = allowed[:, None] & known
                value = tl.load(seen + (v * width + u) * CHANNELS, mask=mask, other=0.0)
                q = wx * wy * tl.sum(g * value.to(tl.float32), axis=1)
                all_q += q
                x_1 += q * (zx - nx)
                x_2 += q * (zx - nx) * (zx + nx)
                y_1 += q * (zy - ny)
                y_2 += q * (zy - ny) * (zy + ny)
    if UNIT:
        mean_x_1, mean_x_2 = sx * 0.0, sx * 0.0
        mean_y_1, mean_y_2 = sx * 0.0, sx * 0.0
        for tap in range(-radius, radius + 1):
            zx, zy = (tap - dx) / sx, (tap - dy) / sy
            in_x, in_y = (tap >= left) & (tap <= right), (tap >= top) & (tap <= bottom)
            wx = tl.where(in_x, fx * tl.exp(0.5 * (nx - zx) * (nx + zx)), 0.0)
            wy = tl.where(in_y, fy * tl.exp(0.5 * (ny - zy) * (ny + zy)), 0.0)
            mean_x_1 += wx * (zx - nx)
            mean_x_2 += wx * (zx - nx) * (zx + nx)
            mean_y_1 += wy * (zy - ny)
            mean_y_2 += wy * (zy - ny) * (zy + ny)
        x_1, y_1 = x_1 - all_q * mean_x_1, y_1 - all_q * mean_y_1
        x_2, y_2 = x_2 - all_q * mean_x_2, y_2 - all_q * mean_y_2
    else:
        x_2, y_2 = x_2 - all_q, y_2 - all_q
    to = grad_parameters + at.to(tl.int64) * (4 * SCALES) + scale
    tl.store(to, x_2 / sx, mask=inside)
    tl.store(to + SCALES, y_2 / sy, mask=inside)
    tl.store(to + 2 * SCALES, x_1 / sx, mask=inside)
    tl.store(to + 3 * SCALES, y_1 / sy, mask=inside)
