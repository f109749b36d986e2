"""Cellpose flows: from labels to flow fields, and from flow fields to masks.

Labels are (H, W) int64 maps, 0 for background. Flows are (2, H, W) float32, (x, y) px. The origin
of positions (x, y) is here the centre of the first pixel, as for array indices.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from cellbench.models.peaks import local_maxima

# The pixel itself and its eight neighbours, (row, column).
_AROUND = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1))

# Peaks of the histogram and the growth around them, as published.
_PEAK_PIXELS = 10
_GROWTH_PIXELS = 2
_GROWTH_STEPS = 5


def flow_targets(labels: Tensor, sources: Tensor, *, steps: int) -> Tensor:
    """Compute the flows of one image, see `flow_targets_of_batch`.

    Args:
        labels: (H, W) int64.
        sources: (N, 2) int64, (row, column) of the source of cell n + 1.
        steps: number of diffusion steps.

    Returns:
        (2, H, W) float32.
    """
    return flow_targets_of_batch(labels[None], [sources], steps=[steps])[0]


def flow_targets_of_batch(
    labels: Tensor, sources: Sequence[Tensor], *, steps: Sequence[int]
) -> Tensor:
    """Compute flows as directions of the gradient of heat diffused from each cell's source.

    Every step adds heat at each cell's source and averages it over each pixel and its eight
    neighbours in the same cell; heat that would leave the cell is lost. The flow is the gradient
    of the logarithm of 1 + the heat, at unit length.

    Source: Stringer et al., "Cellpose: a generalist algorithm for cellular segmentation",
        Nature Methods 18 (2021), "Creation of spatial flows"; all cells of all images diffuse at
        once here.

    Differs: the logarithm is that of the releases before version 3; later ones use the gradient of
        the heat itself, whose directions are within a degree or two of these for most pixels.

    Args:
        labels: (B, H, W) int64.
        sources: per image (N, 2) int64, (row, column) of the source of cell n + 1; ignored where
            that pixel belongs to another cell or lies outside.
        steps: number of diffusion steps per image. The releases use twice the sum of height and
            width of a cell, and 4 or 8 more; `Cellpose` uses half as many.

    Returns:
        (B, 2, H, W) float32; zero outside of cells and where the heat has no slope.
    """
    number, height, width = labels.shape
    flow = torch.zeros(number, 2, height * width, device=labels.device)
    flat = labels.flatten()
    own = flat.nonzero().squeeze(1)
    if not len(own):
        return flow.view(number, 2, height, width)
    # Only pixels of cells: `neighbours[:, p]` are the neighbours of pixel p, or the extra entry at
    # the end, whose heat stays 0.
    place = torch.full((len(flat),), len(own), device=labels.device)
    place[own] = torch.arange(len(own), device=labels.device)
    image, inner = own // (height * width), own % (height * width)
    y, x = inner // width, inner % width
    neighbours = torch.empty(len(_AROUND), len(own), dtype=torch.int64, device=labels.device)
    for row, (dy, dx) in enumerate(_AROUND):
        inside = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        there = (own + dy * width + dx).where(inside, own)
        same = inside & (flat[there] == flat[own])
        neighbours[row] = place[there].masked_fill(~same, len(own))
    hot = torch.cat(
        [
            _source_places(labels[index], each, place[index * height * width :])
            for index, each in enumerate(sources)
        ]
    )
    heat = _diffused(neighbours, hot, torch.tensor(steps).to(labels.device)[image], steps)
    warmth = heat.log1p()
    left, right, up, down = (neighbours[_AROUND.index(s)] for s in _STEPS)
    slope = torch.stack([warmth[right] - warmth[left], warmth[down] - warmth[up]])
    flow[image, :, inner] = (slope / slope.norm(dim=0).clamp_min(1e-20)).float().T
    return flow.view(number, 2, height, width)


def _diffused(neighbours: Tensor, hot: Tensor, steps_of: Tensor, steps: Sequence[int]) -> Tensor:
    """Diffuse heat over the pixels of cells; the last entry of the float64 result stays 0.

    Args:
        neighbours: (9, P) int64, rows of heat.
        hot: rows of the sources.
        steps_of: (P,) int64, number of steps of each pixel's image.
        steps: number of steps of each image, on the host.
    """
    heat = torch.zeros(len(steps_of) + 1, dtype=torch.float64, device=steps_of.device)
    for step in range(max(steps)):
        everywhere = step < min(steps)
        heat[hot] += 1 if everywhere else (steps_of[hot] > step).double()
        spread = heat[neighbours[0]]
        for row in range(1, len(_AROUND)):
            spread += heat[neighbours[row]]
        spread /= len(_AROUND)
        heat[:-1] = spread if everywhere else spread.where(steps_of > step, heat[:-1])
    return heat


# Left, right, up and down, as (row, column).
_STEPS = ((0, -1), (0, 1), (-1, 0), (1, 0))


def _source_places(labels: Tensor, sources: Tensor, place: Tensor) -> Tensor:
    """Return the rows, among the pixels of cells, of the sources that lie in their own cell."""
    height, width = labels.shape
    row, column = sources.T
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    flat = (row * width + column).where(inside, torch.zeros_like(row))
    own = inside & (labels.flatten()[flat] == torch.arange(1, len(sources) + 1).to(labels.device))
    return place[flat[own]]


def follow_flows(flow: Tensor, starts: Tensor, *, steps: int = 200) -> Tensor:
    """Compute the end positions of pixels that follow the flow.

    Each step moves a position by the bilinearly interpolated flow; positions stay inside the image.
    A position within 0.02 px of where it was 8 steps before has converged and is not moved further.

    Source: Stringer et al. 2021: Euler steps of the dynamics.

    Differs: the releases move every position in every step.

    Args:
        flow: (2, H, W) float32, (x, y) px a step.
        starts: (P, 2) int64, (row, column).
        steps: maximum number of steps.

    Returns:
        (P, 2) float32, (x, y) from the centre of the first pixel; empty for no starts.
    """
    height, width = flow.shape[1:]
    ends = starts.flip(1).float()
    last = torch.tensor([width - 1.0, height - 1.0], device=flow.device)
    to_unit = 2 / last.clamp_min(1)
    moving = torch.arange(len(ends), device=flow.device)
    here = seen = ends.clone()
    for step in range(1, steps + 1):
        if not len(moving):
            break
        grid = (here * to_unit - 1)[None, None]  # (1, 1, P, 2), centres of corner pixels at +-1
        move = F.grid_sample(flow[None], grid, padding_mode="border", align_corners=True)
        here = torch.minimum((here + move[0, :, 0].mT).clamp_min(0), last)
        if step % _CHECK_STEPS == 0:
            resting = (here - seen).abs().amax(1) < _REST_PX
            ends[moving[resting]] = here[resting]
            moving, here = moving[~resting], here[~resting]
            seen = here
    ends[moving] = here
    return ends


# Steps between the checks for converged positions. It is even, because unit flows overshoot a
# centre and return, mostly every second step.
_CHECK_STEPS = 8
_REST_PX = 0.02


def masks_from_ends(ends: Tensor, starts: Tensor, size: tuple[int, int]) -> Tensor:
    """Group pixels into masks by their end positions.

    Seeds are local maxima (within 2 px) of the histogram of end positions with more than 10 pixels.
    The basin of a seed grows five times by the neighbouring histogram pixels with more than 2 end
    positions; a pixel between two basins goes to that of the higher seed. The pixels that end in a
    basin form its mask.

    Source: Stringer et al. 2021: mask recovery.

    Differs: basins grow on one shared map, so that no pixel belongs to two of them; in the releases
        each grows alone and shared pixels go to the highest. Ends are rounded to the nearest pixel,
        where the releases truncate them. Of equal peaks within 2 px one is a seed.

    Args:
        ends: (P, 2) float32, (x, y), result of `follow_flows`.
        starts: (P, 2) int64, (row, column) of the pixels.
        size: (width, height) of the image.

    Returns:
        (P,) int64: 0 for no mask, else the mask of the pixel, 1 to the number of masks, from the
        lowest to the highest seed.
    """
    width, height = size
    rounded = ends.round().long()
    flat = rounded[:, 1] * width + rounded[:, 0]
    histogram = torch.bincount(flat, minlength=height * width).view(height, width)
    counts = histogram.float()
    seeds = (local_maxima(counts[None], size=5)[0] & (histogram > _PEAK_PIXELS)).nonzero()
    rank = counts[seeds[:, 0], seeds[:, 1]].argsort(stable=True)
    basins = torch.zeros(height, width, device=ends.device)
    order = torch.arange(1, len(seeds) + 1, device=ends.device, dtype=basins.dtype)
    basins[seeds[rank, 0], seeds[rank, 1]] = order
    roomy = histogram > _GROWTH_PIXELS
    for _ in range(_GROWTH_STEPS):
        around = F.max_pool2d(basins[None, None], 3, 1, 1)[0, 0]
        basins = torch.where((basins == 0) & roomy, around, basins)
    return basins.view(-1)[flat].long()


def flow_errors(labels: Tensor, flow: Tensor, middles: Tensor, *, steps: int) -> Tensor:
    """Compute the error of a network's flow relative to the flow of the recovered masks.

    Args:
        labels: (H, W) int64, masks 1 to N.
        flow: (2, H, W) float32, of unit length at most.
        middles: (N, 2) int64, (row, column) of the source of each mask.
        steps: number of diffusion steps.

    Returns:
        (N,) float32, mean squared error over the pixels of each mask; 0 for an empty mask.
    """
    expected = flow_targets(labels, middles, steps=steps)
    error = (flow - expected).square().sum(0).flatten()
    flat = labels.flatten()
    total = torch.zeros(len(middles) + 1, device=flow.device).index_add_(0, flat, error)
    pixels = torch.bincount(flat, minlength=len(middles) + 1).clamp_min(1)
    return (total / pixels)[1:]
