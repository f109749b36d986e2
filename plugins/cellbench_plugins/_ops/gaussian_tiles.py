"""Gaussian kernels per pixel as matrix products over tiles, in plain PyTorch.

The map is cut into tiles. Inside a tile the kernels of all sizes form one matrix (outer products
of the two axes), so a tile costs one matrix product; the matrix is held for a few tiles at a time
and recomputed in the backward pass. No operation copies from or to the host, so that both passes
can be captured in a CUDA graph.

See `gaussian` for what is computed.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of the kernel matrix that are held at a time, by the type of device: 4 MB in float32,
# about a level-2 cache, and 64 MB, so that a GPU has few launches.
_CHUNK = {"cpu": 1 << 20}
_CHUNK_ELSEWHERE = 1 << 24


def forward(
    rows: Tensor, parameters: Tensor, radii: tuple[int, ...], unit: bool
) -> tuple[Tensor, Tensor]:
    """Convolve with one kernel per pixel and size.

    Args:
        rows: (B, H, W, C).
        parameters: (B, H, W, 4 S) float32, or float64: sigma_x, sigma_y, offset_x, offset_y, px,
            of all sizes each.
        radii: S radii, px.
        unit: normalise to unit sum; otherwise a density.

    Returns:
        (B, H, W, S C) of the type of `rows`; the `factors` argument of `backward`, here empty.
    """
    grid = _Grid.cut(rows, radii)
    parts = grid.tile(parameters, beyond=1)
    seen = grid.windows(rows)
    queries = grid.y.step * grid.x.step * len(radii)
    out = seen.new_empty(len(seen), queries, rows.shape[-1])
    for part in _chunks(seen, queries):
        wx, wy = _both_axes(parts, part, grid, radii, unit)
        torch.bmm(_outer(wx.g, wy.g, rows.dtype), seen[part], out=out[part])
    tiles = out.view(len(out), grid.y.step, grid.x.step, len(radii) * rows.shape[-1])
    return grid.join(tiles), parameters.new_empty(0)


def backward(
    grad: Tensor,
    rows: Tensor,
    parameters: Tensor,
    factors: Tensor,
    radii: tuple[int, ...],
    unit: bool,
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of the map, (B, H, W, C), and of the parameters, (B, H, W, 4 S)."""
    grid = _Grid.cut(rows, radii)
    parts = grid.tile(parameters, beyond=1)
    seen = grid.windows(rows)
    count, channels = len(radii), rows.shape[-1]
    queries = grid.y.step * grid.x.step * count
    grad = grid.tile(grad, beyond=0).reshape(len(seen), queries, channels)
    grad_seen = torch.empty_like(seen)
    grad_parts = torch.empty_like(parts)
    for part in _chunks(seen, queries):
        wx, wy = _both_axes(parts, part, grid, radii, unit)
        kernels = _outer(wx.g, wy.g, rows.dtype)
        torch.bmm(kernels.transpose(1, 2), grad[part], out=grad_seen[part])
        grad_kernels = torch.bmm(grad[part], seen[part].transpose(1, 2)).to(wx.g.dtype)
        grad_kernels = grad_kernels.view(*wy.g.shape, -1)  # (n, py, px, S, wy, wx)
        grad_gx = (grad_kernels * wy.g[..., None]).sum(-2)
        grad_gy = grad_kernels.mul_(wx.g[..., None, :]).sum(-1)
        grad_sx, grad_dx = wx.gradients(grad_gx, unit)
        grad_sy, grad_dy = wy.gradients(grad_gy, unit)
        torch.cat([grad_sx, grad_sy, grad_dx, grad_dy], dim=-1, out=grad_parts[part])
    return grid.add_windows(grad_seen), grid.join(grad_parts)


def _chunks(seen: Tensor, queries: int) -> Iterator[slice]:
    """Yield slices of the tiles whose kernel matrices fit the chunk of their device."""
    most = _CHUNK.get(seen.device.type, _CHUNK_ELSEWHERE)
    step = max(1, most // (queries * seen.shape[1]))
    for start in range(0, len(seen), step):
        yield slice(start, min(start + step, len(seen)))


class _Axis(NamedTuple):
    """Tiles along one axis: tile t holds `step` pixels from t * step, its window `pad` px more.

    The axis is padded by zeros (`padding`: before, after), so that every window exists.
    """

    size: int
    number: int
    step: int
    pad: int
    window: int
    padding: tuple[int, int]


class _Grid(NamedTuple):
    """Tiles of a map: both axes, the number of tiles, and whether one tile is the whole map."""

    y: _Axis
    x: _Axis
    tiles: int
    whole: bool

    @classmethod
    def cut(cls, rows: Tensor, radii: tuple[int, ...]) -> "_Grid":
        """Choose the grid of (B, H, W, C) for kernels of these radii."""
        # With a step of at least 2 r, every other window is disjoint: `add_windows` relies on it.
        step, pad = max(8, 2 * max(radii)), max(radii)
        axes = []
        for size in rows.shape[1:3]:
            if size <= step + 2 * pad:
                axes.append(_Axis(size, 1, size, 0, size, (0, 0)))
            else:
                number = -(-size // step)
                padding = (pad, number * step - size + pad)
                axes.append(_Axis(size, number, step, pad, step + 2 * pad, padding))
        y, x = axes
        return cls(y, x, y.number * x.number, y.number * x.number == 1)

    def tile(self, rows: Tensor, *, beyond: float) -> Tensor:
        """Cut (B, H, W, K) into (tiles, py, px, K), filled with `beyond` outside the map."""
        if self.whole:
            return rows
        y, x = self.y, self.x
        missing = (0, 0, 0, x.number * x.step - x.size, 0, y.number * y.step - y.size)
        rows = F.pad(rows, missing, value=beyond)
        parts = rows.view(len(rows), y.number, y.step, x.number, x.step, rows.shape[-1])
        return parts.transpose(2, 3).reshape(-1, y.step, x.step, rows.shape[-1])

    def join(self, tiles: Tensor) -> Tensor:
        """Join tiles to a map, the inverse of `tile`."""
        if self.whole:
            return tiles
        y, x = self.y, self.x
        parts = tiles.view(-1, y.number, x.number, y.step, x.step, tiles.shape[-1]).transpose(2, 3)
        rows = parts.reshape(-1, y.number * y.step, x.number * x.step, tiles.shape[-1])
        return rows[:, : y.size, : x.size].contiguous()

    def windows(self, rows: Tensor) -> Tensor:
        """Cut (B, H, W, C) into the window of each tile, (tiles, wy * wx, C)."""
        if self.whole:
            return rows.reshape(len(rows), self.y.size * self.x.size, rows.shape[-1])
        y, x = self.y, self.x
        rows = F.pad(rows, (0, 0, *x.padding, *y.padding))
        parts = rows.unfold(1, y.window, y.step).unfold(2, x.window, x.step)
        parts = parts.permute(0, 1, 2, 4, 5, 3)
        return parts.reshape(-1, y.window * x.window, rows.shape[-1])

    def add_windows(self, windows: Tensor) -> Tensor:
        """Add overlapping windows up to a map, the transpose of `windows`."""
        channels = windows.shape[-1]
        if self.whole:
            return windows.view(-1, self.y.size, self.x.size, channels)
        y, x = self.y, self.x
        parts = windows.view(-1, y.number, x.number, y.window, x.window, channels)
        height, width = y.size + sum(y.padding), x.size + sum(x.padding)
        rows = windows.new_zeros(len(parts), height, width, channels)
        seen = rows.unfold(1, y.window, y.step).unfold(2, x.window, x.step)
        seen = seen.permute(0, 1, 2, 4, 5, 3)
        for i in range(min(2, y.number)):
            for j in range(min(2, x.number)):
                seen[:, i::2, j::2].add_(parts[:, i::2, j::2])
        return rows[:, y.pad : y.pad + y.size, x.pad : x.pad + x.size]


class _Weights(NamedTuple):
    """Weights of one axis: g and z = (distance - offset) / sigma, (tiles, py, px, S, window)."""

    g: Tensor
    z: Tensor
    sigma: Tensor

    def gradients(self, grad: Tensor, unit: bool) -> tuple[Tensor, Tensor]:
        """Compute the gradients of sigma and offset from that of g."""
        grad_logits = self.g * grad
        total = grad_logits.sum(-1)
        if unit:
            grad_logits -= self.g * total[..., None]
        grad_z = grad_logits * self.z
        grad_offset = grad_z.sum(-1) / self.sigma
        grad_sigma = (grad_z.mul_(self.z)).sum(-1) / self.sigma
        if not unit:
            grad_sigma -= total / self.sigma
        return grad_sigma, grad_offset


def _axis_weights(
    sigma: Tensor, offset: Tensor, axis: _Axis, tile: Tensor, radii: Tensor, unit: bool, dim: int
) -> _Weights:
    """Compute the weights along one axis of a few tiles.

    Args:
        sigma: (n, py, px, S).
        offset: (n, py, px, S).
        axis: tiles along the axis.
        tile: (n,) index of each tile along the axis.
        radii: (S,) radii of the supports.
        unit: normalise to unit sum.
        dim: dimension of `sigma` of the axis, 1 (y) or 2 (x).
    """
    seen = torch.arange(axis.window, device=sigma.device) - axis.pad
    at = torch.arange(axis.step, device=sigma.device)
    shape = (1, -1, 1, 1, axis.window) if dim == 1 else (1, 1, -1, 1, axis.window)
    distance = (seen - at[:, None]).view(shape)
    allowed = distance.abs() <= radii[:, None]
    if unit and axis.pad:
        where = tile[:, None] * axis.step + seen
        inside = ((where >= 0) & (where < axis.size))[:, None, None, None, :]
        # The central tap is always allowed, so that pixels of the last tile outside the map are
        # finite.
        allowed = allowed & (inside | (distance == 0))
    z = (distance - offset[..., None]).div_(sigma[..., None])
    logits = (z * z).mul_(-0.5).masked_fill_(~allowed, -math.inf)
    if unit:
        return _Weights(logits.softmax(-1), z, sigma)
    g = logits.exp_().mul_((1 / math.sqrt(2 * math.pi)) / sigma[..., None])
    return _Weights(g, z, sigma)


def _both_axes(
    parameters: Tensor, part: slice, grid: _Grid, radii: tuple[int, ...], unit: bool
) -> tuple[_Weights, _Weights]:
    sigma_x, sigma_y, offset_x, offset_y = parameters[part].split(len(radii), dim=-1)
    tile = torch.arange(part.start, part.stop, device=parameters.device) % grid.tiles
    # Without a copy from the host, which a CUDA graph cannot hold.
    reach = torch.cat([torch.full((1,), radius, device=parameters.device) for radius in radii])
    tx, ty = tile % grid.x.number, tile // grid.x.number
    return (
        _axis_weights(sigma_x, offset_x, grid.x, tx, reach, unit, dim=2),
        _axis_weights(sigma_y, offset_y, grid.y, ty, reach, unit, dim=1),
    )


def _outer(gx: Tensor, gy: Tensor, dtype: torch.dtype) -> Tensor:
    """Compute the kernels as one matrix per tile: (n, py * px * S, wy * wx)."""
    kernels = gy.to(dtype)[..., :, None] * gx.to(dtype)[..., None, :]
    return kernels.flatten(4, 5).flatten(1, 3)
