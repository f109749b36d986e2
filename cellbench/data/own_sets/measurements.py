"""What annotated pictures have in common, and the config of a set that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from cellbench.structures import Points

# Where no two cells are in one picture, or none is marked.
RADIUS_PX, SCALE, CROP_PX = 8.0, 1.0, 64
# Input px between neighbouring cells that networks of stride 4 part well.
_APART_PX = 12
# Small batches of small crops: of a few pictures and on two cores many steps teach more.
_BATCH, _CROPS_PER_IMAGE, _STEPS, _LEAST_EPOCHS = 4, 2, 1200, 10
_LARGEST_CROP_PX = 64


@dataclass(frozen=True, slots=True)
class Measured:
    """What the pictures of a data set have in common.

    Attributes:
        images: how many there are.
        cells: in all of them.
        spacing_px: median distance of a cell to the nearest other; None where it is not known.
        radius_px: half of it, at least 2 px.
        input_scale: at which neighbours are some 12 px apart; 0.5, 1, 1.5 or 2.
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
) -> Measured:
    """Measure the annotations of a set.

    Args:
        points: (N, 2) (x, y) px of each picture; empty where cells are counted and not marked.
        sizes: (width, height) of each, px.
        cells: in all; the number of points by default.
    """
    cells = sum(map(len, points)) if cells is None else cells
    spacing = neighbour_distance(points)
    if spacing is None:
        return Measured(len(sizes), cells)
    scale = min((0.5, 1.0, 1.5, 2.0), key=lambda scale: abs(np.log(scale * spacing / _APART_PX)))
    shortest = min(min(size) for size in sizes) * scale
    crop = int(np.clip(shortest // 32 * 32, 32, 96))
    return Measured(len(sizes), cells, spacing, max(2.0, round(spacing) / 2), scale, crop)


def neighbour_distance(points: Sequence[Points]) -> float | None:
    """The median distance of a cell to the nearest other, px; None where no image has two."""
    nearest = [np.asarray(cKDTree(own).query(own, 2)[0])[:, 1] for own in points if len(own) > 1]
    return float(np.median(np.concatenate(nearest))) if nearest else None


def set_config(name: str, measured: Measured) -> dict[str, Any]:
    """The `data` of a set's config.

    The epochs make some 1200 steps on 60 % of the images, and 10 at least.
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
