"""Local maxima of score maps, and their subpixel positions."""

import torch
from torch import Tensor
from torch.nn import functional as F


def local_maxima(scores: Tensor, *, size: int = 3) -> Tensor:
    """Mark the cells that no neighbour exceeds.

    Of equal neighbours the one first in reading order is marked, so that two equal cells side by
    side (common where a network computes in bfloat16) are one peak, not two. A cell of -inf, and
    one of NaN, is no peak.

    Args:
        scores: (B, H, W) float; -inf where nothing may be found.
        size: odd edge of the neighbourhood in cells.

    Returns:
        (B, H, W) bool; empty for an empty map.

    Raises:
        ValueError: the size is even or not positive.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a neighbourhood has an odd size, not {size}")
    reach = size // 2
    height, width = scores.shape[-2:]
    around = F.pad(scores, (reach,) * 4, value=float("-inf"))
    peaks = scores > float("-inf")
    for row in range(size):
        for column in range(size):
            neighbour = around[..., row : row + height, column : column + width]
            if (row, column) < (reach, reach):
                peaks = peaks & (scores > neighbour)
            elif (row, column) > (reach, reach):
                peaks = peaks & (scores >= neighbour)
    return peaks


def subpixel_offsets(scores: Tensor) -> Tensor:
    """Estimate offsets of maxima from the parabola through each cell and its axis neighbours.

    Args:
        scores: (B, H, W) float.

    Returns:
        (B, H, W, 2) float, (x, y) in cells within [-0.5, 0.5]; 0 at the border of the map and
        where the three values do not bend downwards.
    """
    down = _parabola(scores.transpose(-1, -2)).transpose(-1, -2)
    return torch.stack([_parabola(scores), down], dim=-1)


def _parabola(scores: Tensor) -> Tensor:
    """Compute offsets along the last axis; 0 in its first and last cell."""
    if scores.shape[-1] <= 2:
        return torch.zeros_like(scores)
    before, here, after = scores[..., :-2], scores[..., 1:-1], scores[..., 2:]
    bend = before - 2 * here + after
    downwards = bend < 0
    top = 0.5 * (before - after) / torch.where(downwards, bend, -torch.ones_like(bend))
    inner = torch.where(downwards, top, torch.zeros_like(top)).clamp(-0.5, 0.5)
    return F.pad(inner, (1, 1))  # not assigned into zeros, which ONNX cannot export
