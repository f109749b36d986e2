"""Statistics of a user's annotated images, and the data config derived from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from cellbench.structures import Points

# Defaults if no image has two marked cells.
RADIUS_PX, SCALE, CROP_PX = 8.0, 1.0, 64
# Distance of neighbouring cells, input px, that networks of stride 4 separate well.
_APART_PX = 12
# Small batches of small crops: with few images and two cores, many steps train better.
_BATCH, _CROPS_PER_IMAGE, _STEPS, _LEAST_EPOCHS = 4, 2, 1200, 10
_LARGEST_CROP_PX = 64


@dataclass(frozen=True, slots=True)
class SetStatistics:
    """Statistics of an annotated data set, and training parameters derived from them.

    Attributes:
        images: number of images.
        cells: number of cells in all images.
        spacing_px: median distance between a cell and its nearest neighbour; None if unknown.
        radius_px: half of the spacing, at least 2 px.
        input_scale: 0.5, 1, 1.5 or 2, such that neighbours are about 12 input px apart.
        crop_px: edge of a training crop, px of the network input.
    """

    images: int
    cells: int
    spacing_px: float | None = None
    radius_px: float = RADIUS_PX
    input_scale: float = SCALE
    crop_px: int = CROP_PX


def measure(
    points: Sequence[Points], sizes: Sequence[tuple[int, int]], *, cells: int | None = None
) -> SetStatistics:
    """Compute the statistics of a set's annotations.

    Args:
        points: (N, 2) (x, y) px of each image; empty where only a count is known.
        sizes: (width, height) of each image, px.
        cells: number of cells in all images; by default the number of points.
    """
    cells = sum(map(len, points)) if cells is None else cells
    spacing = neighbour_distance(points)
    if spacing is None:
        return SetStatistics(len(sizes), cells)
    scale = min((0.5, 1.0, 1.5, 2.0), key=lambda scale: abs(np.log(scale * spacing / _APART_PX)))
    shortest = min(min(size) for size in sizes) * scale
    crop = int(np.clip(shortest // 32 * 32, 32, 96))
    return SetStatistics(len(sizes), cells, spacing, max(2.0, round(spacing) / 2), scale, crop)


def neighbour_distance(points: Sequence[Points]) -> float | None:
    """Compute the median nearest-neighbour distance of cells, px; None if no image has two."""
    nearest = [
        np.asarray(cKDTree(cells).query(cells, 2)[0])[:, 1] for cells in points if len(cells) > 1
    ]
    return float(np.median(np.concatenate(nearest))) if nearest else None


def set_config(name: str, measured: SetStatistics) -> dict[str, Any]:
    """Return the `data` section of a set's config.

    It has at least 10 epochs, which give about 1200 steps on 60 % of the images.
    """
    steps = max(1.0, 0.6 * measured.images * _CROPS_PER_IMAGE / _BATCH)
    size = min(measured.crop_px, _LARGEST_CROP_PX)
    crop = {"type": "RandomCrop", "size": size, "jitter": [0.8, 1.25]}
    return {
        "set": name,
        "radius_px": measured.radius_px,
        "epochs": max(_LEAST_EPOCHS, round(_STEPS / steps)),
        "batch_size": _BATCH,
        "crops_per_image": _CROPS_PER_IMAGE,
        "input_scale": measured.input_scale,
        "augment": [crop, {"type": "RandomFlip"}, {"type": "QuarterTurn"},
                    {"type": "ColourJitter"}],
    }  # fmt: skip
