"""Counts of image blocks, and count classes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def class_bounds(classes: int = 57, *, start: float = -2.0, step: float = 0.1) -> Tensor:
    """Compute the largest count of every class but the last.

    Class 0 is no cell, class 1 is (0, e^start], and each further class is wider than the one
    before it by the factor e^step; the last has no upper bound.

    Source: LibraNet, arXiv:2007.08260; the numbers are those of its released code.

    Args:
        classes: at least 3.
        start: natural logarithm of the bound between classes 1 and 2.
        step: natural logarithm of the ratio of neighbouring bounds.

    Returns:
        (classes - 1,) float32, ascending from 0.
    """
    logarithms = start + step * torch.arange(classes - 2, dtype=torch.float64)
    return torch.cat([torch.zeros(1, dtype=torch.float64), logarithms.exp()]).float()


def class_values(classes: int = 57, *, start: float = -2.0, step: float = 0.1) -> Tensor:
    """Compute the count of each class: the middle of its interval; 0 for class 0.

    The last class, which has no upper bound, is treated as if it ended at the bound that would be
    next.

    Args:
        classes: as for `class_bounds`.
        start: as for `class_bounds`.
        step: as for `class_bounds`.

    Returns:
        (classes,) float32, ascending from 0.
    """
    bounds = class_bounds(classes + 1, start=start, step=step).double()
    return torch.cat([torch.zeros(1, dtype=torch.float64), (bounds[:-1] + bounds[1:]) / 2]).float()


def class_of(counts: Tensor, bounds: Tensor) -> Tensor:
    """Look up the class of each count.

    Args:
        counts: any shape, at least 0.
        bounds: result of `class_bounds`.

    Returns:
        int64 of the same shape.
    """
    return torch.bucketize(counts.contiguous(), bounds)


def block_counts(
    points: Sequence[Tensor],
    sizes: Tensor,
    grid: tuple[int, int],
    *,
    block_px: int,
    sigma_px: float = 0.0,
) -> Tensor:
    """Compute the number of cells in each block of each image.

    With a `sigma_px` a cell is a Gaussian, integrated exactly over the blocks, cut at the border of
    its image and renormalised to 1: cells near the border of two blocks are shared, and the counts
    of an image sum to its number of cells.

    Args:
        points: per image (A_i, 2) float, (x, y) px, inside the image.
        sizes: (B, 2), (width, height) px.
        grid: (rows, columns) of blocks.
        block_px: edge of a block.
        sigma_px: deviation of the Gaussian; 0 for dots.

    Returns:
        (B, rows, columns) float32; 0 for an image without cells.
    """
    rows, columns = grid
    counts = torch.zeros(len(points), rows, columns, device=sizes.device)
    for image, (own, size) in enumerate(zip(points, sizes.float(), strict=True)):
        across = _shares(own[:, 0], size[0], columns, block_px, sigma_px)
        down = _shares(own[:, 1], size[1], rows, block_px, sigma_px)
        counts[image] = down.T @ across
    return counts


def _shares(places: Tensor, length: Tensor, blocks: int, block_px: int, sigma_px: float) -> Tensor:
    """Compute the share of each cell in each block along one axis, (A, blocks)."""
    edges = block_px * torch.arange(blocks + 1, device=places.device, dtype=torch.float32)
    if sigma_px == 0:
        inside = (places[:, None] >= edges[:-1]) & (places[:, None] < edges[1:])
        return inside.float()
    edges = edges.minimum(length)
    below = 0.5 * (1 + torch.erf((edges - places[:, None].float()) / (math.sqrt(2) * sigma_px)))
    return below.diff(dim=1) / (below[:, -1:] - below[:, :1])
