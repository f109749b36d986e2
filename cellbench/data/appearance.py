"""Statistics of the appearance of images: width of structures, background and colour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from cellbench.data.intensities import windows_of
from cellbench.data.scale_space import Blobs, find_blobs, noise_deviation
from cellbench.structures import CellSample, Points

# Greatest number of images in a summary, evenly selected.
_MOST_PICTURES = 24
_LEAST_BLOBS = 3
_LEAST_NOISE = 0.3  # of 255: noise of rounding


@dataclass(frozen=True, slots=True)
class Appearance:
    """Statistics of the appearance of an image.

    Attributes:
        bright_px: width of its bright structures, px; None if nothing stands out.
        dark_px: width of its dark structures.
        ground: median grey, 0..1.
        saturation: mean difference of the greatest and the least channel, 0..1.
    """

    bright_px: float | None
    dark_px: float | None
    ground: float
    saturation: float


class Annotated(Protocol):
    """Protocol of a set of images with annotations."""

    def sample(self, image_id: str, /) -> CellSample:
        """Return the annotation of an image."""

    def pixels(self, image_id: str, /) -> NDArray[np.uint8]:
        """Return the pixels of an image, (H, W, 3) uint8 RGB."""


def measure_appearance(pixels: NDArray[np.uint8]) -> Appearance:
    """Measure the appearance of an image, of a large one in windows.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    return _of_blobs(pixels, *_blobs(pixels))


def _of_blobs(pixels: NDArray[np.uint8], bright: Blobs, dark: Blobs) -> Appearance:
    stride = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / 250_000)))
    thinned = pixels[::stride, ::stride].astype(np.float32) / 255
    return Appearance(
        structure_width(bright),
        structure_width(dark),
        float(np.median(thinned.mean(axis=2))),
        float((thinned.max(axis=2) - thinned.min(axis=2)).mean()),
    )


def structure_width(blobs: Blobs) -> float | None:
    """Compute the geometric mean width of blobs, weighted by contrast and area.

    None for fewer than 3 typical blobs.
    """
    typical = blobs.typical()
    if len(typical.contrast) < _LEAST_BLOBS:
        return None
    weight = typical.contrast * typical.width_px**2
    return float(np.exp(np.average(np.log(typical.width_px), weights=weight)))


def training_summary(stored: Annotated, ids: Sequence[str]) -> dict[str, Any]:
    """Summarise the appearance of a method's training images, for its record.

    Args:
        stored: set of the images.
        ids: of the training part, at least one.

    Returns:
        JSON-able: number of images, polarity of the cells, width of the structures of that
        polarity, median spacing of the annotated cells, ground and saturation; of width, ground
        and saturation least, median and greatest; None where unknown.
    """
    from scipy.spatial import KDTree

    chosen = sorted(ids)[:: max(1, -(-len(ids) // _MOST_PICTURES))]
    appearances, spacings, hits = [], [], {1: 0, -1: 0}
    for image_id in chosen:
        pixels, points = stored.pixels(image_id), stored.sample(image_id).points
        bright, dark = _blobs(pixels)
        for sign, blobs in ((1, bright), (-1, dark)):
            hits[sign] += _count_inside(points, blobs.typical())
        appearances.append(_of_blobs(pixels, bright, dark))
        if len(points) > 1:
            spacings += np.asarray(KDTree(points).query(points, k=2)[0])[:, 1].tolist()
    polarity = 1 if hits[1] >= hits[-1] else -1
    widths = [width for one in appearances if (width := width_of(one, polarity)) is not None]
    return {
        "pictures": len(chosen),
        "polarity": polarity,
        "width_px": _three(widths),
        "spacing_px": round(float(np.median(spacings)), 2) if spacings else None,
        "ground": _three([one.ground for one in appearances]),
        "saturation": _three([one.saturation for one in appearances]),
    }


def width_of(look: Appearance, polarity: int) -> float | None:
    """Return the width of the bright (1) or dark (-1) structures, px."""
    return look.bright_px if polarity == 1 else look.dark_px


def is_summary(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Return whether a record's entry has the form of `training_summary`."""

    def three(numbers: Any) -> bool:
        return (
            isinstance(numbers, list)
            and len(numbers) == 3
            and all(type(number) in (int, float) for number in numbers)
        )

    return (
        isinstance(value, Mapping)
        and value.get("polarity") in (1, -1)
        and (value.get("width_px") is None or three(value["width_px"]))
        and all(three(value.get(key)) for key in ("ground", "saturation"))
    )


def _blobs(pixels: NDArray[np.uint8]) -> tuple[Blobs, Blobs]:
    """Find bright and dark blobs in the window of an image that has most of them."""
    height, width = pixels.shape[:2]
    windows = windows_of(height, width)
    found = []
    for y, x in windows[:: max(1, len(windows) // 3)]:
        part = pixels[y, x].astype(np.float32)
        # A stain in one channel stands out in the maximum, on a bright background in the minimum.
        plane = part.max(axis=2) if part.mean() < 128 else part.min(axis=2)
        found.append(find_blobs(plane, noise=max(noise_deviation(plane), _LEAST_NOISE)))
    best = max(found, key=lambda pair: len(pair[0].contrast) + len(pair[1].contrast))
    return best


def _count_inside(points: Points, blobs: Blobs) -> int:
    """Return the number of points that lie in a blob."""
    from scipy.spatial import KDTree

    if not len(points) or not len(blobs.points):
        return 0
    distance, nearest = KDTree(blobs.points).query(points)
    return int((distance <= blobs.width_px[nearest] / 2).sum())


def _three(numbers: Sequence[float]) -> list[float] | None:
    """Compute least, median and greatest; None for no numbers."""
    if not len(numbers):
        return None
    return [round(float(q), 4) for q in np.quantile(np.asarray(numbers), [0, 0.5, 1])]
