"""Points in micrometres, brought to px.

ImageJ writes a calibrated table in the unit of the picture and does not say so in the table. With
the size of a pixel given, the reading is taken that fits the pictures.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from cellbench.data.own_sets.pairing import FoundAnnotation
from cellbench.data.reader import ReadOptions, opened_raster, size_of
from cellbench.errors import UserError
from cellbench.structures import Points

# A cell of a picture is somewhere in its outer quarter, if there are some.
_FILLED = 0.75
_ALIKE = 0.01


def in_pixels(
    chosen: Mapping[Path, FoundAnnotation],
    um_per_px: float | None,
    options: ReadOptions,
    say: Callable[[str], None],
) -> dict[Path, Points]:
    """The points of every picture in px.

    Args:
        chosen: the annotation of each picture; those without points are left out.
        um_per_px: edge of a pixel; None where it is not known.
        options: how pictures are read.
        say: takes a sentence on what was converted.

    Raises:
        UserError: points are in micrometres and the size of a pixel is not known.
    """
    marked = {path: found for path, found in chosen.items() if found.read.points is not None}
    unsure = {path: found for path, found in marked.items() if found.read.unit == "px or um"}
    converted = {path for path, found in marked.items() if found.read.unit == "um"}
    if converted and um_per_px is None:
        file = marked[min(converted)].file
        raise UserError(f"{file} is in micrometres; add --um-per-px, the edge of a pixel.")
    if unsure and um_per_px is not None and _calibrated(unsure, um_per_px, options):
        converted |= unsure.keys()
    if converted:
        say(f"Points in micrometres were divided by {um_per_px:g} to px.")
    found = {}
    for path, one in marked.items():
        points, shift = one.read.points, one.read.shift_px
        if points is None:
            continue
        if path in converted and um_per_px is not None:
            points = ((points.astype(np.float64) - shift) / um_per_px + shift).astype(np.float32)
        found[path] = points
    return found


def stated_um_per_px(
    pictures: Sequence[Path], options: ReadOptions, say: Callable[[str], None]
) -> float | None:
    """The edge of a pixel that the files of all pictures state alike; None where they do not."""
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


def _calibrated(
    unsure: Mapping[Path, FoundAnnotation], um_per_px: float, options: ReadOptions
) -> bool:
    """Whether points fit their pictures when they are divided by the size of a pixel."""
    largest = 0.0
    for path, found in unsure.items():
        points = found.read.points
        if points is not None and len(points):
            largest = max(largest, float((points / np.array(size_of(path, options))).max()))
    as_they_are, divided = largest <= 1.05, largest / um_per_px <= 1.05
    if as_they_are and divided:
        return largest < _FILLED <= largest / um_per_px
    return divided
