"""Points in micrometres or in shares of the sides of their picture, brought to px.

ImageJ writes a calibrated table in the unit of the picture and does not say so in the table. The
reading is taken whose points lie in the pictures, and on what they show.
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

# A cell of a picture is somewhere in its outer quarter, if there are some.
_FILLED = 0.75
_ALIKE = 0.01
# Pictures, and points of each, that are compared with what they show.
_MOST_PICTURES, _MOST_POINTS = 12, 500
# A bright speck is no more than a bright cell.
_MOST_SD = 4.0
# Sums of standard scores over the root of their number: of two readings the better one is taken
# from here on, and of hundreds it has to be clearer, and clear at each point too. On 24 draws of
# pictures of ADI, MBM, VGG and nuclei with points as they are or anywhere none is so clear; all are
# on MBM, VGG and nuclei where points were multiplied by 0.65 or 0.9.
_OF_TWO, _TIMES = 5.0, 2.0
_OF_MANY, _MANY_TIMES, _EACH = 10.0, 3.0, 0.75
# Sizes of a pixel, µm: from one to the next a cell at the far side of 1000 px stays on itself.
_EDGES_UM = np.exp(np.arange(np.log(0.2), np.log(5.0), 0.004))

Unsure = Mapping[Path, FoundAnnotation]


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


def _calibrated(unsure: Unsure, um_per_px: float, options: ReadOptions) -> bool:
    """Whether points fit their pictures when they are divided by the size of a pixel."""
    largest = 0.0
    for path, found in unsure.items():
        points = found.read.points
        if points is not None and len(points):
            largest = max(largest, float((points / np.array(size_of(path, options))).max()))
    as_they_are, divided = largest <= 1.05, largest / um_per_px <= 1.05
    if as_they_are and divided:
        px, um = _fits(unsure, np.array([1.0, um_per_px]), options)
        if max(px, um) > _OF_TWO and max(px, um) > _TIMES * min(px, um):
            return bool(um > px)
        return largest < _FILLED <= largest / um_per_px
    return divided


def _check_pixels(unsure: Unsure, options: ReadOptions) -> None:
    """Refuse points that lie beside the cells as they are, and on them in micrometres.

    Raises:
        UserError: they do.
    """
    own, *fits = _fits(unsure, np.array([1.0, *_EDGES_UM]), options)
    best, edge = max(zip(fits, _EDGES_UM.tolist(), strict=True))
    first = list(unsure.values())[:_MOST_PICTURES]
    cells = sum(min(found.read.cells, _MOST_POINTS) for found in first)
    if best > max(_OF_MANY, _EACH * cells**0.5, _MANY_TIMES * own):
        raise UserError(
            f"The points of {min(found.file for found in unsure.values())} lie on what the "
            f"pictures show if they are divided by {edge:.3g}, and not as they are: ImageJ wrote "
            "them in micrometres; add --um-per-px, the edge of a pixel."
        )


def _fits(unsure: Unsure, edges_um: NDArray[np.float64], options: ReadOptions) -> list[float]:
    """How clearly points lie on what differs from its surroundings, by the size of a pixel.

    Args:
        unsure: the pictures.
        edges_um: (E,), what points are divided by.
        options: how pictures are read.

    Returns:
        For each edge the sum of the points' standard scores over the root of their number, without
        sign; points outside their picture have a score of 0.
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
