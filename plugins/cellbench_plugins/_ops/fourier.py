"""Convolution with large kernels, by the Fourier transform of tiles."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

# Longest edge of a tile of the output, px. Of 48, 64, 80 and 96 the fastest with kernels of 14 and
# 18 px: smaller tiles overlap more, and a transform by matrices costs its edge a pixel.
TILE = 64


def fourier_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`conv2d` without padding and with stride 1, at a cost that hardly grows with the kernel.

    An 18x18 kernel from 128 to 32 channels costs 1.3 million products a pixel done directly. Here
    the output is cut into tiles, the input of each is transformed, multiplied for each frequency
    by a (C, O) matrix, and transformed back (overlap-save). The transforms are matrix products
    too: at 64 px they are faster on a CPU than a fast transform, whose layouts would have to be
    copied to and fro. The answer is that of `conv2d` up to rounding; autograd gives the gradients.

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
    kernel = (weight.shape[2], weight.shape[3])
    out = (x.shape[2] - kernel[0] + 1, x.shape[3] - kernel[1] + 1)
    if min(out) < 1:
        raise ValueError(f"a kernel of {kernel} does not fit into a map of {tuple(x.shape[2:])}")
    tiles = tuple(math.ceil(length / TILE) for length in out)
    step = tuple(math.ceil(length / n) for length, n in zip(out, tiles, strict=True))
    edge = tuple(_even(s + k - 1) for s, k in zip(step, kernel, strict=True))
    with torch.autocast(x.device.type, enabled=False):
        wide = torch.promote_types(x.dtype, torch.float32)
        pieces = _cut(x.to(wide), tiles, step, edge)  # (h, w, M, C)
        real, imaginary = _transform(pieces, edge)  # (h, w / 2 + 1, M, C) each
        signal = torch.cat([real, imaginary], dim=3).flatten(0, 1)  # (f, M, 2 C)
        real, imaginary = _transform(weight.to(wide).permute(2, 3, 1, 0), edge)
        # times the conjugate: a correlation, as convolutions of networks are
        matrix = torch.cat(
            [
                torch.cat([real, -imaginary], dim=3),
                torch.cat([imaginary, real], dim=3),
            ],
            dim=2,
        ).flatten(0, 1)  # (f, 2 C, 2 O)
        product = torch.bmm(signal, matrix).unflatten(0, (edge[0], -1))  # (h, w', M, 2 O)
        answer = _transform_back(product, edge, step)  # (step, step, M, O)
        answer = answer.unflatten(2, (len(x), *tiles)).permute(2, 3, 0, 4, 1, 5)
        joined = answer.reshape(len(x), tiles[0] * step[0], tiles[1] * step[1], len(weight))
        joined = joined[:, : out[0], : out[1]]
        if bias is not None:
            joined = joined + bias
    return joined.to(x.dtype).permute(0, 3, 1, 2)


def _cut(x: Tensor, tiles: tuple[int, ...], step: tuple[int, ...], edge: tuple[int, ...]) -> Tensor:
    """(h, w, B n m, C): pieces of `edge`, one every `step`, of a map continued by zeros."""
    need = [(n - 1) * s + e for n, s, e in zip(tiles, step, edge, strict=True)]
    x = F.pad(x, (0, max(0, need[1] - x.shape[3]), 0, max(0, need[0] - x.shape[2])))
    pieces = x.unfold(2, edge[0], step[0]).unfold(3, edge[1], step[1])  # (B, C, n, m, h, w)
    pieces = pieces[:, :, : tiles[0], : tiles[1]]
    return pieces.permute(4, 5, 0, 2, 3, 1).flatten(2, 4)


def _transform(x: Tensor, edge: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts (h, w / 2 + 1, M, C) of the transform of real (k, l, M, C)."""
    rows, columns, count, channels = x.shape
    half = edge[1] // 2 + 1
    along_x = _waves(edge[1], half, columns, x.dtype, x.device)  # cosines, then minus sines
    along_y = _waves(edge[0], edge[0], rows, x.dtype, x.device)
    once = torch.matmul(along_x, x.reshape(rows, columns, -1))  # (k, 2 w', M C)
    twice = along_y @ once.reshape(rows, -1)
    twice = twice.view(2, edge[0], 2, half, count, channels)
    return twice[0, :, 0] - twice[1, :, 1], twice[0, :, 1] + twice[1, :, 0]


def _transform_back(product: Tensor, edge: tuple[int, ...], step: tuple[int, ...]) -> Tensor:
    """The first `step` px (s, t, M, O) of what has the transform (h, w / 2 + 1, M, 2 O)."""
    half, count = product.shape[1], product.shape[2]
    waves = _waves(edge[0], edge[0], step[0], product.dtype, product.device)
    cosines, sines = waves.view(2, edge[0], step[0]).transpose(1, 2) / edge[0]
    once = torch.cat([cosines, -sines]) @ product.reshape(edge[0], -1)
    once = once.view(2, step[0], half, count, 2, -1)
    real, imaginary = (
        once[0, ..., 0, :] - once[1, ..., 1, :],
        once[0, ..., 1, :] + once[1, ..., 0, :],
    )
    # of the frequencies that a real signal repeats, only the first and the middle one are single
    weight = torch.full((half, 1), 2.0 / edge[1], dtype=product.dtype, device=product.device)
    weight[0] = weight[-1] = 1.0 / edge[1]
    back = _waves(edge[1], half, step[1], product.dtype, product.device)
    back = (back.view(2, half, step[1]) * weight).flatten(0, 1).T  # (t, 2 w')
    both = torch.cat([real, imaginary], dim=1).flatten(2)  # (s, 2 w', M O)
    return torch.matmul(back, both).unflatten(2, (count, -1))


def _waves(
    period: int, frequencies: int, places: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """(2 f, places): cosines, then minus sines, of the frequencies from 0."""
    return _table(period, frequencies, places).to(device=device, dtype=dtype)


@lru_cache(maxsize=64)
def _table(period: int, frequencies: int, places: int) -> Tensor:
    turns = torch.outer(torch.arange(frequencies), torch.arange(places)) % period
    angle = turns.double() * (2 * math.pi / period)
    return torch.cat([angle.cos(), -angle.sin()])


def _even(length: int) -> int:
    return length + length % 2
