"""Convolution with Gaussian kernels whose parameters differ by pixel or by image.

The kernel of a pixel is K(u, v) = gx(u) gy(v) on a square support, one for each of several sizes,
shared by all channels. Taps are looked up at p + (u, v), u along x. `normalise` is one of

- "density": g(u) = exp(-(u - d)^2 / 2 s^2) / (sqrt(2 pi) s), so that K has the height of Eq. 3 of
  the DLA-Count paper; pixels outside the map count as zero;
- "unit": the weights of the taps inside the map sum to one, so that a constant map stays itself up
  to its border. It is a softmax: nothing is ever divided by a sum that underflowed.

Source: Eq. 3 of DLA-Count; layout and gradients are ours.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Normalise = Literal["unit", "density"]

# Below this deviation (px) a kernel is a single tap; the floor keeps 1 / sigma^2 finite.
MIN_SIGMA = 1e-3
# Elements of the kernel matrix that are held at a time: 4 MB in float32, about a level-2 cache.
_CHUNK = 1 << 20


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

    The map is cut into tiles. Inside a tile the kernels of all sizes form one matrix (outer
    products of the two axes), so a tile costs one matrix product; the matrix exists for a few
    tiles at a time and is made again in the backward pass. Memory grows with C + 4 S per pixel,
    never with the number of taps.

    Args:
        x: (B, C, H, W), channels-last for speed.
        sigma_x: (B, S, H, W) deviations along x, px; at least `MIN_SIGMA` is used.
        sigma_y: (B, S, H, W) deviations along y, px.
        offset_x: (B, S, H, W) centres of the kernels along x, px from their pixel.
        offset_y: (B, S, H, W) centres along y, px.
        sizes: S odd widths of the supports, px.
        normalise: "unit" or "density", as the module says.

    Returns:
        (B, S * C, H, W) channels-last, the dtype of `x`, all channels of the first size first.
    """
    radii = _radii(sizes)
    parameters = [_rows(p) for p in (sigma_x, sigma_y, offset_x, offset_y)]
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    sx, sy, dx, dy = (p.to(dtype) for p in parameters)
    with torch.autocast(x.device.type, enabled=False):
        out = _PixelKernels.apply(
            _rows(x),
            sx.clamp_min(MIN_SIGMA),
            sy.clamp_min(MIN_SIGMA),
            dx,
            dy,
            radii,
            normalise == "unit",
        )
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
        normalise: "unit" or "density", as the module says.

    Returns:
        (B, S * C, H, W) channels-last, the dtype of `x`, all channels of the first size first.
    """
    rows = _rows(x)
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


def _rows(x: Tensor) -> Tensor:
    """View (B, C, H, W) as (B, H, W, C); free of copies where channels come last in memory."""
    return x.permute(0, 2, 3, 1)


def _line_weights(sigma: Tensor, offset: Tensor, size: int, radius: int, unit: bool) -> Tensor:
    """Weights of the taps along one axis: (B,) parameters give (taps, B, size)."""
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


class _Axis(NamedTuple):
    """How one axis of a map is cut: tile t holds pixels from t * step, its window pad px more."""

    size: int
    number: int
    step: int
    pad: int

    @property
    def window(self) -> int:
        return self.step + 2 * self.pad

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and after the axis, so that every window exists."""
        return self.pad, self.number * self.step - self.size + self.pad

    @classmethod
    def cut(cls, size: int, radius: int) -> "_Axis":
        # A step of 2 r leaves every other window disjoint, which `_add_windows` relies on.
        step = max(8, 2 * radius)
        if size <= step + 2 * radius:
            return cls(size, 1, size, 0)
        return cls(size, -(-size // step), step, radius)


class _Grid(NamedTuple):
    """The tiles of a map."""

    y: _Axis
    x: _Axis

    @property
    def tiles(self) -> int:
        return self.y.number * self.x.number

    @property
    def whole(self) -> bool:
        return self.tiles == 1

    def tile(self, rows: Tensor, *, beyond: float) -> Tensor:
        """Cut (B, H, W, K) into (tiles, py, px, K), with a value where a tile leaves the map."""
        if self.whole:
            return rows
        y, x = self
        missing = (0, 0, 0, x.number * x.step - x.size, 0, y.number * y.step - y.size)
        rows = F.pad(rows, missing, value=beyond)
        parts = rows.view(len(rows), y.number, y.step, x.number, x.step, rows.shape[-1])
        return parts.transpose(2, 3).reshape(-1, y.step, x.step, rows.shape[-1])

    def join(self, tiles: Tensor) -> Tensor:
        """Undo `tile`."""
        if self.whole:
            return tiles
        y, x = self
        parts = tiles.view(-1, y.number, x.number, y.step, x.step, tiles.shape[-1]).transpose(2, 3)
        rows = parts.reshape(-1, y.number * y.step, x.number * x.step, tiles.shape[-1])
        return rows[:, : y.size, : x.size].contiguous()

    def windows(self, rows: Tensor) -> Tensor:
        """What each tile sees of (B, H, W, C): (tiles, wy * wx, C)."""
        if self.whole:
            return rows.reshape(len(rows), -1, rows.shape[-1])
        y, x = self
        rows = F.pad(rows, (0, 0, *x.padding, *y.padding))
        parts = rows.unfold(1, y.window, y.step).unfold(2, x.window, x.step)
        parts = parts.permute(0, 1, 2, 4, 5, 3)
        return parts.reshape(-1, y.window * x.window, rows.shape[-1])

    def add_windows(self, windows: Tensor) -> Tensor:
        """The transpose of `windows`: overlapping parts are added up."""
        channels = windows.shape[-1]
        if self.whole:
            return windows.view(-1, self.y.size, self.x.size, channels)
        y, x = self
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
        """Gradients of sigma and offset from that of g."""
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
    """Weights along one axis of a few tiles.

    Args:
        sigma: (n, py, px, S).
        offset: (n, py, px, S).
        axis: how the axis is cut.
        tile: (n,) index of each tile along the axis.
        radii: (S,) of the supports.
        unit: normalise to unit sum.
        dim: of `sigma` along which the axis runs, 1 (y) or 2 (x).
    """
    seen = torch.arange(axis.window, device=sigma.device) - axis.pad
    at = torch.arange(axis.step, device=sigma.device)
    shape = (1, -1, 1, 1, axis.window) if dim == 1 else (1, 1, -1, 1, axis.window)
    distance = (seen - at[:, None]).view(shape)
    allowed = distance.abs() <= radii[:, None]
    if unit and axis.pad:
        where = tile[:, None] * axis.step + seen
        inside = ((where >= 0) & (where < axis.size))[:, None, None, None, :]
        # A pixel always sees itself: rows of the last tile that lie outside stay finite.
        allowed = allowed & (inside | (distance == 0))
    z = (distance - offset[..., None]).div_(sigma[..., None])
    logits = (z * z).mul_(-0.5).masked_fill_(~allowed, -math.inf)
    if unit:
        return _Weights(logits.softmax(-1), z, sigma)
    g = logits.exp_().mul_((1 / math.sqrt(2 * math.pi)) / sigma[..., None])
    return _Weights(g, z, sigma)


class _PixelKernels(torch.autograd.Function):
    """The tiled matrix products of `gaussian_pixelwise`, on (B, H, W, K) tensors."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        sigma_x: Tensor,
        sigma_y: Tensor,
        offset_x: Tensor,
        offset_y: Tensor,
        radii: tuple[int, ...],
        unit: bool,
    ) -> Tensor:
        grid = _Grid(*(_Axis.cut(size, max(radii)) for size in rows.shape[1:3]))
        ctx.save_for_backward(rows, sigma_x, sigma_y, offset_x, offset_y)
        ctx.grid, ctx.radii, ctx.unit = grid, radii, unit
        parameters = grid.tile(torch.cat([sigma_x, sigma_y, offset_x, offset_y], dim=-1), beyond=1)
        seen = grid.windows(rows)
        queries = grid.y.step * grid.x.step * len(radii)
        out = seen.new_empty(len(seen), queries, rows.shape[-1])
        for part in _chunks(len(seen), queries * seen.shape[1]):
            wx, wy = _both_axes(parameters, part, grid, radii, unit)
            torch.bmm(_outer(wx.g, wy.g, rows.dtype), seen[part], out=out[part])
        tiles = out.view(len(out), grid.y.step, grid.x.step, len(radii) * rows.shape[-1])
        return grid.join(tiles)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, *saved = ctx.saved_tensors
        grid, radii, unit = ctx.grid, ctx.radii, ctx.unit
        parameters = grid.tile(torch.cat(saved, dim=-1), beyond=1)
        seen = grid.windows(rows)
        count, channels = len(radii), rows.shape[-1]
        queries = grid.y.step * grid.x.step * count
        grad = grid.tile(grad, beyond=0).reshape(len(seen), queries, channels)
        grad_seen = torch.empty_like(seen)
        grad_parameters = torch.empty_like(parameters)
        for part in _chunks(len(seen), queries * seen.shape[1]):
            wx, wy = _both_axes(parameters, part, grid, radii, unit)
            kernels = _outer(wx.g, wy.g, rows.dtype)
            torch.bmm(kernels.transpose(1, 2), grad[part], out=grad_seen[part])
            grad_kernels = torch.bmm(grad[part], seen[part].transpose(1, 2)).to(wx.g.dtype)
            grad_kernels = grad_kernels.view(*wy.g.shape, -1)
            grad_gx = (grad_kernels * wy.g[..., None]).sum(-2)
            grad_gy = grad_kernels.mul_(wx.g[..., None, :]).sum(-1)
            grad_sx, grad_dx = wx.gradients(grad_gx, unit)
            grad_sy, grad_dy = wy.gradients(grad_gy, unit)
            torch.cat([grad_sx, grad_sy, grad_dx, grad_dy], dim=-1, out=grad_parameters[part])
        by_parameter = grid.join(grad_parameters).split(count, dim=-1)
        return grid.add_windows(grad_seen), *by_parameter, None, None


def _chunks(tiles: int, elements: int) -> Iterator[slice]:
    """Slices of the tiles whose kernel matrices fit `_CHUNK`."""
    step = max(1, _CHUNK // elements)
    for start in range(0, tiles, step):
        yield slice(start, min(start + step, tiles))


def _both_axes(
    parameters: Tensor, part: slice, grid: _Grid, radii: tuple[int, ...], unit: bool
) -> tuple[_Weights, _Weights]:
    sigma_x, sigma_y, offset_x, offset_y = parameters[part].split(len(radii), dim=-1)
    tile = torch.arange(part.start, part.stop, device=parameters.device) % grid.tiles
    reach = torch.tensor(radii, device=parameters.device)
    tx, ty = tile % grid.x.number, tile // grid.x.number
    return (
        _axis_weights(sigma_x, offset_x, grid.x, tx, reach, unit, dim=2),
        _axis_weights(sigma_y, offset_y, grid.y, ty, reach, unit, dim=1),
    )


def _outer(gx: Tensor, gy: Tensor, dtype: torch.dtype) -> Tensor:
    """Kernels as a matrix per tile: (n, py * px * S, wy * wx)."""
    kernels = gy.to(dtype)[..., :, None] * gx.to(dtype)[..., None, :]
    return kernels.flatten(4, 5).flatten(1, 3)
