"""Convert points in micrometres, or relative to the sides of their image, to px.

ImageJ writes the table of a calibrated image in its unit without stating it. The unit is inferred
from whether the points lie inside the images and on their objects.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellbench.data.own_sets.pairing import FoundAnnotation
from cellbench.data.own_sets.placement import contrast_map
from cellbench.data.reader import ReadOptions, opened_raster, read_whole, size_of
from cellbench.errors import UserError
from cellbench.structures import Points

# Some cell of the set is assumed to lie in the last quarter of its image's width or height.
_FILLED = 0.75
_ALIKE = 0.01
# Limits of images, and of points in each, whose contrast is measured.
_MOST_PICTURES, _MOST_POINTS = 12, 500
# Contrast is clipped to this, so that a bright speck counts no more than a bright cell.
_MOST_SD = 4.0
# Thresholds for the sum of standard scores over the root of their number, and for the ratio to the
# other hypothesis: lower between two pixel sizes than among hundreds, where the mean score of a
# point must also reach _EACH. On 24 draws of images of ADI, MBM, VGG and nuclei none with correct
# or random points exceeds those for hundreds; on MBM, VGG and nuclei all do with points multiplied
# by 0.65 or 0.9.
_OF_TWO, _TIMES = 5.0, 2.0
_OF_MANY, _MANY_TIMES, _EACH = 10.0, 3.0, 0.75
# Candidate pixel sizes, µm; from one to the next a point at 1000 px moves less than a cell.
_EDGES_UM = np.exp(np.arange(np.log(0.2), np.log(5.0), 0.004))

Unsure = Mapping[Path, FoundAnnotation]


def in_pixels(
    chosen: Mapping[Path, FoundAnnotation],
    um_per_px: float | None,
    options: ReadOptions,
    say: Callable[[str], None],
) -> dict[Path, Points]:
    """Convert the points of every image to px.

    Args:
        chosen: annotation of each image; those without points are left out of the result.
        um_per_px: edge of a pixel in micrometres; None if unknown.
        options: options for reading images.
        say: called with a sentence on the conversion.

    Raises:
        UserError: points are in micrometres and the pixel size is unknown.
    """
    marked = {path: found for path, found in chosen.items() if found.read.points is not None}
    unsure = {path: found for path, found in marked.items() if found.read.unit == "px or um"}
    converted = {path for path, found in marked.items() if found.read.unit == "um"}
    if converted and um_per_px is None:
        file = marked[min(converted)].file
        raise UserError(f"{file} is in micrometres; add --um-per-px, the edge of a pixel.")
    if unsure and um_per_px is None:
        _check_pixels(unsure, options)
    elif unsure and um_per_px is not None and _calibrated(unsure, um_per_px, options):
        converted |= unsure.keys()
    if not converted >= unsure.keys():
        say("ImageJ does not state the unit of its points: they were taken as px.")
    if converted:
        say(f"Points in micrometres were divided by {um_per_px:g} to px.")
    found = {}
    for path, one in marked.items():
        points, shift = one.read.points, one.read.shift_px
        if points is None:
            continue
        if one.read.unit == "share":
            points = (points * np.array(size_of(path, options))).astype(np.float32)
        elif path in converted and um_per_px is not None:
            points = ((points.astype(np.float64) - shift) / um_per_px + shift).astype(np.float32)
        found[path] = points
    return found


def stated_um_per_px(
    pictures: Sequence[Path], options: ReadOptions, say: Callable[[str], None]
) -> float | None:
    """Return the pixel size in micrometres if all files state the same square one, else None."""
    sizes = []
    for path in pictures:
        with opened_raster(path, options.planes) as raster:
            found = raster.pixel_size_um
        if found is None or abs(found[0] - found[1]) > _ALIKE * found[0]:
            return None
        sizes.append(found[0])
    if max(sizes) - min(sizes) > _ALIKE * min(sizes):
        return None
    say(f"The files state {sizes[0]:.4g} micrometres a pixel.")
    return float(sizes[0])


def _calibrated(unsure: Unsure, um_per_px: float, options: ReadOptions) -> bool:
    """Return whether points of unknown unit are in micrometres, given the pixel size."""
    largest = 0.0
    for path, found in unsure.items():
        points = found.read.points
        if points is not None and len(points):
            largest = max(largest, float((points / np.array(size_of(path, options))).max()))
    as_they_are, divided = largest <= 1.05, largest / um_per_px <= 1.05
    if as_they_are and divided:
        px, um = _fit_scores(unsure, np.array([1.0, um_per_px]), options)
        if max(px, um) > _OF_TWO and max(px, um) > _TIMES * min(px, um):
            return bool(um > px)
        return largest < _FILLED <= largest / um_per_px
    return divided


def _check_pixels(unsure: Unsure, options: ReadOptions) -> None:
    """Check that points of unknown unit do not fit the images clearly better in micrometres.

    Raises:
        UserError: they do, with some pixel size.
    """
    in_px, *fits = _fit_scores(unsure, np.array([1.0, *_EDGES_UM]), options)
    best, edge = max(zip(fits, _EDGES_UM.tolist(), strict=True))
    first = list(unsure.values())[:_MOST_PICTURES]
    cells = sum(min(found.read.cells, _MOST_POINTS) for found in first)
    if best > max(_OF_MANY, _EACH * cells**0.5, _MANY_TIMES * in_px):
        raise UserError(
            f"The points of {min(found.file for found in unsure.values())} lie on what the "
            f"pictures show if they are divided by {edge:.3g}, and not as they are: ImageJ wrote "
            "them in micrometres; add --um-per-px, the edge of a pixel."
        )


def _fit_scores(unsure: Unsure, edges_um: NDArray[np.float64], options: ReadOptions) -> list[float]:
    """Score for each pixel size how well the points lie on objects of the images.

    Args:
        unsure: annotations of unknown unit, by image.
        edges_um: (E,) pixel sizes that the points are divided by.
        options: options for reading images.

    Returns:
        For each size the absolute sum of the contrast at the points, in standard deviations, over
        the root of their number; the contrast of points outside their image is 0.
    """
    sums, many = np.zeros(len(edges_um)), 0
    for path, found in list(unsure.items())[:_MOST_PICTURES]:
        points = found.read.points
        if points is None or not len(points):
            continue
        contrast = contrast_map(read_whole(path, options).pixels)
        if contrast is None:
            continue
        places, shift = points[:_MOST_POINTS].astype(np.float64), found.read.shift_px
        height, width = contrast.shape
        x, y = np.floor((places.T - shift)[:, None, :] / edges_um[:, None] + shift).astype(int)
        within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        scores = contrast[y.clip(0, height - 1), x.clip(0, width - 1)]
        sums += np.where(within, scores.clip(-_MOST_SD, _MOST_SD), 0.0).sum(axis=1)
        many += len(places)
    return [float(one) for one in np.abs(sums) / max(many, 1) ** 0.5]
