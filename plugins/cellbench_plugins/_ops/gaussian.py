"""Convolution with Gaussian kernels whose parameters differ by pixel or by image.

The kernel of a pixel is K(u, v) = gx(u) gy(v) on a square support, one for each of several sizes,
shared by all channels. Taps are read at p + (u, v), u along x. `normalise` is one of

- "density": g(u) = exp(-(u - d)^2 / 2 s^2) / (sqrt(2 pi) s), so that K has the height of Eq. 3 of
  the DLA-Count paper; pixels outside the map count as zero;
- "unit": the weights of the taps inside the map sum to one, so that a constant map is unchanged up
  to its border. It is computed as a softmax, which avoids a division by an underflowed sum.

Source: Eq. 3 of DLA-Count; layout and gradients are ours.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from cellbench_plugins._ops import gaussian_taps
from cellbench_plugins._ops.gaussian_choice import pixel_kernels

Normalise = Literal["unit", "density"]

MIN_SIGMA = gaussian_taps.LEAST_SIGMA


def gaussian_pixelwise(
    x: Tensor,
    sigma_x: Tensor,
    sigma_y: Tensor,
    offset_x: Tensor,
    offset_y: Tensor,
    *,
    sizes: Sequence[int],
    normalise: Normalise = "unit",
) -> Tensor:
    """Convolve with one Gaussian kernel per pixel and size.

    Memory grows with C + 4 S per pixel, not with the number of taps. On a GPU with Triton both
    passes are a few kernels; elsewhere they are matrix products over tiles.

    Args:
        x: (B, C, H, W), channels-last for speed.
        sigma_x: (B, S, H, W) deviations along x, px; at least `MIN_SIGMA` is used.
        sigma_y: (B, S, H, W) deviations along y, px.
        offset_x: (B, S, H, W) centres of the kernels along x, px from their pixel.
        offset_y: (B, S, H, W) centres along y, px.
        sizes: S odd widths of the supports, px.
        normalise: "unit" or "density", see the module docstring.

    Returns:
        (B, S * C, H, W) channels-last, the dtype of `x`, all channels of the first size first.
    """
    radii = _radii(sizes)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    if torch.onnx.is_in_onnx_export():  # tiles would be fixed to the size of the traced input
        given = (sigma_x, sigma_y, offset_x, offset_y)
        return gaussian_taps.forward(x, [p.to(dtype) for p in given], radii, normalise == "unit")
    # Views as (B, H, W, C): free of copies where channels come last in memory.
    rows, *own = (each.permute(0, 2, 3, 1) for each in (x, sigma_x, sigma_y, offset_x, offset_y))
    sigmas = torch.cat(own[:2], dim=-1).to(dtype).clamp_min(MIN_SIGMA)
    offsets = torch.cat(own[2:], dim=-1).to(dtype)
    parameters = torch.cat([sigmas, offsets], dim=-1)  # (B, H, W, 4 S)
    with torch.autocast(x.device.type, enabled=False):
        out: Tensor = _PixelKernels.apply(rows, parameters, radii, normalise == "unit")
    return out.permute(0, 3, 1, 2)


def gaussian_imagewise(
    x: Tensor,
    sigma_x: Tensor,
    sigma_y: Tensor,
    offset_x: Tensor,
    offset_y: Tensor,
    *,
    sizes: Sequence[int],
    normalise: Normalise = "unit",
) -> Tensor:
    """Convolve with one Gaussian kernel per image and size: separable, k + k taps.

    Args:
        x: (B, C, H, W), channels-last for speed.
        sigma_x: (B, S) deviations along x, px; at least `MIN_SIGMA` is used.
        sigma_y: (B, S) deviations along y, px.
        offset_x: (B, S) centres along x, px.
        offset_y: (B, S) centres along y, px.
        sizes: S odd widths of the supports, px.
        normalise: "unit" or "density", see the module docstring.

    Returns:
        (B, S * C, H, W) channels-last, the dtype of `x`, all channels of the first size first.
    """
    rows = x.permute(0, 2, 3, 1)
    unit = normalise == "unit"
    out = []
    for index, radius in enumerate(_radii(sizes)):
        wx = _line_weights(sigma_x[:, index], offset_x[:, index], rows.shape[2], radius, unit)
        wy = _line_weights(sigma_y[:, index], offset_y[:, index], rows.shape[1], radius, unit)
        wx, wy = wx.to(x.dtype)[:, :, None, :, None], wy.to(x.dtype)[:, :, :, None, None]
        along_x = _shifted_sum(F.pad(rows, (0, 0, radius, radius)), wx, dim=2)
        out.append(_shifted_sum(F.pad(along_x, (0, 0, 0, 0, radius, radius)), wy, dim=1))
    return torch.cat(out, dim=-1).permute(0, 3, 1, 2)


def _radii(sizes: Sequence[int]) -> tuple[int, ...]:
    if not sizes or any(size < 1 or size % 2 == 0 for size in sizes):
        raise ValueError(f"kernel sizes are odd and positive, not {tuple(sizes)}")
    return tuple(size // 2 for size in sizes)


def _line_weights(sigma: Tensor, offset: Tensor, size: int, radius: int, unit: bool) -> Tensor:
    """Compute the weights of the taps along one axis, (taps, B, size), from (B,) parameters."""
    dtype = torch.float64 if sigma.dtype == torch.float64 else torch.float32
    sigma = sigma.to(dtype).clamp_min(MIN_SIGMA)[:, None]
    taps = torch.arange(-radius, radius + 1, device=sigma.device)
    z = (taps.to(dtype) - offset.to(dtype)[:, None]) / sigma
    logits = -0.5 * z * z  # (B, taps)
    if not unit:
        weights = logits.exp() / (math.sqrt(2 * math.pi) * sigma)
        return weights.t()[:, :, None].expand(-1, -1, size)
    at = torch.arange(size, device=sigma.device)[:, None] + taps
    outside = (at < 0) | (at >= size)
    weights = logits[:, None, :].masked_fill(outside, -math.inf).softmax(dim=-1)
    return weights.permute(2, 0, 1)


def _shifted_sum(padded: Tensor, weights: Tensor, *, dim: int) -> Tensor:
    """Add up the shifts of a padded map along `dim`, each times its weight."""
    size = padded.shape[dim] - len(weights) + 1
    total = padded.narrow(dim, 0, size) * weights[0]
    for tap in range(1, len(weights)):
        total = torch.addcmul(total, padded.narrow(dim, tap, size), weights[tap])
    return total


class _PixelKernels(torch.autograd.Function):
    """`gaussian_pixelwise` on (B, H, W, K) tensors."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, parameters: Tensor, radii: tuple[int, ...], unit: bool
    ) -> Tensor:
        ctx.kernels = pixel_kernels(rows, radii, unit)
        out, factors = ctx.kernels.forward(rows, parameters, radii, unit)
        ctx.save_for_backward(rows, parameters, factors)
        ctx.options = radii, unit
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_rows, grad_parameters = ctx.kernels.backward(grad, *ctx.saved_tensors, *ctx.options)
        return grad_rows, grad_parameters, None, None
