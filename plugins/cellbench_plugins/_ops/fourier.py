"""Convolution with large kernels by Fourier transforms of tiles (overlap-save)."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Longest edge of a tile of the output, px. Of 48, 64, 80 and 96 the fastest with kernels of 14 and
# 18 px: smaller tiles overlap more, and the cost per pixel of a transform by matrices is
# proportional to the edge.
TILE = 64


def fourier_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `conv2d` without padding at stride 1, at a cost nearly independent of the kernel.

    An 18x18 kernel from 128 to 32 channels takes 1.3 million products per pixel directly. Here
    the output is cut into tiles; the input of each is transformed, multiplied for each frequency
    by a (C, O) matrix, and transformed back (overlap-save). The transforms are matrix products
    too: at 64 px they are faster on a CPU than an FFT, which would need copies between layouts. The
    result is that of `conv2d` up to rounding; there is no second derivative.

    Source: Mathieu, Henaff & LeCun, "Fast Training of Convolutional Networks through FFTs", 2014.

    Args:
        x: (B, C, H, W), H and W at least the kernel's; computed in float32 at least.
        weight: (O, C, k, l).
        bias: (O,) or None.

    Returns:
        (B, O, H - k + 1, W - l + 1), channels-last, of the dtype of `x`.

    Raises:
        ValueError: the kernel is larger than the map.
    """
    if torch.onnx.is_in_onnx_export():  # ONNX runtimes have the convolution, for any size
        return F.conv2d(x, weight, bias)
    wide = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        joined: Tensor = _Correlation.apply(x.to(wide), weight.to(wide))  # (B, h, w, O)
        if bias is not None:
            joined = joined + bias
    return joined.to(x.dtype).permute(0, 3, 1, 2)


class _Correlation(Function):
    """Valid correlation of (B, C, H, W) with (O, C, k, l), as (B, h, w, O).

    Both gradients are computed in the same way: that of the map is a convolution with the kernel,
    whose overlapping tiles are added up, that of the kernel a correlation of map and gradient. The
    transforms of the map and of the kernel are saved for them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        tiling = _Tiling.of(x, weight)
        signal = _concatenate(_transform(_cut(x, tiling), tiling.edge))  # (f, M, 2 C)
        real, imaginary = _transform(weight.permute(2, 3, 1, 0), tiling.edge)
        # times the conjugate: a correlation, as in the convolutions of networks
        matrix = torch.cat(
            [
                torch.cat([real, -imaginary], dim=3),
                torch.cat([imaginary, real], dim=3),
            ],
            dim=2,
        ).flatten(0, 1)  # (f, 2 C, 2 O)
        ctx.tiling = tiling
        ctx.save_for_backward(signal, matrix)
        answer = _inverse_transform(torch.bmm(signal, matrix), tiling.edge, tiling.step)
        answer = answer.unflatten(2, (len(x), *tiling.tiles)).permute(2, 3, 0, 4, 1, 5)
        joined = answer.reshape(len(x), *tiling.covered, len(weight))
        return joined[:, : tiling.out[0], : tiling.out[1]]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        tiling: _Tiling = ctx.tiling
        signal, matrix = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            pieces = _cut_gradient(gradient, tiling)  # (s, t, M, O)
            spectrum = _concatenate(_transform(pieces, tiling.edge))  # (f, M, 2 O)
            of_map = of_kernel = None
            if ctx.needs_input_grad[0]:
                product = torch.bmm(spectrum, matrix.mT)  # (f, M, 2 C)
                of_map = _add_pieces(_inverse_transform(product, tiling.edge, tiling.edge), tiling)
            if ctx.needs_input_grad[1]:
                blocks = torch.bmm(signal.mT, spectrum)  # (f, 2 C, 2 O)
                (rr, ri), (ir, ii) = (half.chunk(2, dim=2) for half in blocks.chunk(2, dim=1))
                product = torch.cat([rr + ii, ir - ri], dim=2)  # (f, C, 2 O)
                kernel = _inverse_transform(product, tiling.edge, tiling.kernel)  # (k, l, C, O)
                of_kernel = kernel.permute(3, 2, 0, 1)
        return of_map, of_kernel


@dataclass(frozen=True, slots=True)
class _Tiling:
    """Division of a map into tiles; all lengths are (rows, columns).

    Attributes:
        size: size of the map.
        kernel: size of the kernel.
        out: size of the output.
        tiles: number of tiles.
        step: size of a tile of the output.
        edge: size of the input piece of a tile, even.
    """

    size: tuple[int, int]
    kernel: tuple[int, int]
    out: tuple[int, int]
    tiles: tuple[int, int]
    step: tuple[int, int]
    edge: tuple[int, int]

    @classmethod
    def of(cls, x: Tensor, weight: Tensor) -> "_Tiling":
        size, kernel = (x.shape[2], x.shape[3]), (weight.shape[2], weight.shape[3])
        out = (size[0] - kernel[0] + 1, size[1] - kernel[1] + 1)
        if min(out) < 1:
            raise ValueError(f"a kernel of {kernel} does not fit into a map of {size}")
        tiles = (math.ceil(out[0] / TILE), math.ceil(out[1] / TILE))
        step = (math.ceil(out[0] / tiles[0]), math.ceil(out[1] / tiles[1]))
        edge = (_even(step[0] + kernel[0] - 1), _even(step[1] + kernel[1] - 1))
        return cls(size, kernel, out, tiles, step, edge)

    @property
    def covered(self) -> tuple[int, int]:
        """Size of the area that the output tiles cover, at least `out`."""
        return self.tiles[0] * self.step[0], self.tiles[1] * self.step[1]

    @property
    def reach(self) -> tuple[int, int]:
        """Size of the map, extended to the end of the last piece."""
        ends = [(n - 1) * s + e for n, s, e in zip(self.tiles, self.step, self.edge, strict=True)]
        return max(ends[0], self.size[0]), max(ends[1], self.size[1])


def _concatenate(parts: tuple[Tensor, Tensor]) -> Tensor:
    """Concatenate real and imaginary parts (h, w, M, C) to (f, M, 2 C)."""
    return torch.cat(parts, dim=3).flatten(0, 1)


def _cut(x: Tensor, tiling: _Tiling) -> Tensor:
    """Cut a zero-padded map into pieces of `edge`, one every `step`: (h, w, B n m, C)."""
    edge, step, tiles = tiling.edge, tiling.step, tiling.tiles
    x = F.pad(x, (0, tiling.reach[1] - x.shape[3], 0, tiling.reach[0] - x.shape[2]))
    pieces = x.unfold(2, edge[0], step[0]).unfold(3, edge[1], step[1])  # (B, C, n, m, h, w)
    pieces = pieces[:, :, : tiles[0], : tiles[1]]
    return pieces.permute(4, 5, 0, 2, 3, 1).flatten(2, 4)


def _cut_gradient(gradient: Tensor, tiling: _Tiling) -> Tensor:
    """Cut a (B, h, w, O) gradient of the output into tiles, (s, t, B n m, O)."""
    rows, columns = tiling.covered
    whole = F.pad(gradient, (0, 0, 0, columns - gradient.shape[2], 0, rows - gradient.shape[1]))
    whole = whole.unflatten(2, (tiling.tiles[1], -1)).unflatten(1, (tiling.tiles[0], -1))
    return whole.permute(2, 4, 0, 1, 3, 5).flatten(2, 4)  # from (B, n, s, m, t, O)


def _add_pieces(pieces: Tensor, tiling: _Tiling) -> Tensor:
    """Add pieces (h, w, B n m, C) up at the positions where they were cut: (B, C, H, W)."""
    edge, step, tiles = tiling.edge, tiling.step, tiling.tiles
    pieces = pieces.unflatten(2, (-1, *tiles))  # (h, w, B, n, m, C)
    whole = pieces.new_zeros((*tiling.reach, pieces.shape[2], pieces.shape[5]))
    for row in range(tiles[0]):
        for column in range(tiles[1]):
            top, left = row * step[0], column * step[1]
            whole[top : top + edge[0], left : left + edge[1]] += pieces[:, :, :, row, column]
    return whole[: tiling.size[0], : tiling.size[1]].permute(2, 3, 0, 1)


def _transform(x: Tensor, edge: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Transform real (k, l, M, C) to real and imaginary parts (h, w / 2 + 1, M, C)."""
    rows, columns, count, channels = x.shape
    half = edge[1] // 2 + 1
    along_x = _waves(edge[1], half, columns, x.dtype, x.device)  # cosines, then minus sines
    along_y = _waves(edge[0], edge[0], rows, x.dtype, x.device)
    once = torch.matmul(along_x, x.reshape(rows, columns, -1))  # (k, 2 w', M C)
    twice = along_y @ once.reshape(rows, -1)
    twice = twice.view(2, edge[0], 2, half, count, channels)
    return twice[0, :, 0] - twice[1, :, 1], twice[0, :, 1] + twice[1, :, 0]


def _inverse_transform(product: Tensor, edge: tuple[int, ...], step: tuple[int, ...]) -> Tensor:
    """Invert a transform (h * (w / 2 + 1), M, 2 O); return the first `step` px, (s, t, M, O)."""
    product = product.unflatten(0, (edge[0], -1))
    half, count = product.shape[1], product.shape[2]
    waves = _waves(edge[0], edge[0], step[0], product.dtype, product.device)
    cosines, sines = waves.view(2, edge[0], step[0]).transpose(1, 2) / edge[0]
    once = torch.cat([cosines, -sines]) @ product.reshape(edge[0], -1)
    once = once.view(2, step[0], half, count, 2, -1)
    real, imaginary = (
        once[0, ..., 0, :] - once[1, ..., 1, :],
        once[0, ..., 1, :] + once[1, ..., 0, :],
    )
    # all frequencies of a real signal occur in conjugate pairs, but for the first and the middle
    weight = torch.full((half, 1), 2.0 / edge[1], dtype=product.dtype, device=product.device)
    weight[0] = weight[-1] = 1.0 / edge[1]
    back = _waves(edge[1], half, step[1], product.dtype, product.device)
    back = (back.view(2, half, step[1]) * weight).flatten(0, 1).T  # (t, 2 w')
    both = torch.cat([real, imaginary], dim=1).flatten(2)  # (s, 2 w', M O)
    return torch.matmul(back, both).unflatten(2, (count, -1))


@cache
def _waves(
    period: int, frequencies: int, places: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Compute cosines, then minus sines, of the frequencies from 0, (2 f, places).

    Computed on the CPU in float64 and cached on the device, because a copy in every step would
    block. The cache is unbounded (at most 10 MB), because a CUDA graph keeps reading the memory of
    the tensors that it was captured with.
    """
    with torch.inference_mode(False):  # tensors cached in evaluation are used in training too
        turns = torch.outer(torch.arange(frequencies), torch.arange(places)) % period
        angle = turns.double() * (2 * math.pi / period)
        return torch.cat([angle.cos(), -angle.sin()]).to(device=device, dtype=dtype)


def _even(length: int) -> int:
    return length + length % 2
