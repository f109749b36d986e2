"""Checks of annotations against their images, each other and plausible positions of cells."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from cellbench.data.own_sets.pairing import FoundAnnotation
from cellbench.errors import UserError
from cellbench.structures import Points

Size = tuple[int, int]

# Greatest distance outside an image, px: programs draw up to its last corner, so that a mark at the
# very edge may lie just outside.
_EDGE_PX = 1.0
# Least number of cells that are not all in one corner of every image by chance.
_ENOUGH = 20
_CORNER = 0.55
# Points whose neighbour is the next pixel are one dot of several pixels.
_TOUCHING_PX = 1.5
# Positions of one cell in two annotations by hand differ by a few px.
_SAME_PX = 4.0


def check_sizes(found: FoundAnnotation, picture: Path, size: Size) -> None:
    """Check that an annotation states the size of its image, or none.

    Raises:
        UserError: it states another size.
    """
    stated = found.read.size
    if stated is not None and stated != size:
        raise UserError(
            f"{found.file} is of a picture of {stated[0]}x{stated[1]} px and {picture.name} has "
            f"{size[0]}x{size[1]} px; both must be of one size."
        )


def inside(points: Points, size: Size, file: Path) -> tuple[Points, int]:
    """Move points that are at most a pixel outside their image onto its edge.

    Returns:
        (N, 2) float32, all inside the image; the number of moved points.

    Raises:
        UserError: a point is farther outside.
    """
    limits = np.array(size, dtype=np.float32)
    outside = ((points < -_EDGE_PX) | (points > limits + _EDGE_PX)).any(axis=1)
    if outside.any():
        x, y = points[outside][0]
        raise UserError(
            f"{file} has {int(outside.sum())} of {len(points)} points outside its picture of "
            f"{size[0]}x{size[1]} px, the first at ({x:g}, {y:g}); see whether it is of this "
            "picture, in px, x before y."
        )
    moved = points.clip(0, np.nextafter(limits, np.float32(0)))
    return moved.astype(np.float32), int((moved != points).any(axis=1).sum())


def check_dots(points: Points, file: Path) -> None:
    """Check that points are not the pixels of larger dots; fewer than 20 pass.

    Raises:
        UserError: the nearest neighbour of most points is the next pixel.
    """
    if len(points) < _ENOUGH:
        return
    nearest = np.asarray(cKDTree(points).query(points, 2)[0])[:, 1]
    if np.median(nearest) <= _TOUCHING_PX:
        raise UserError(
            f"{file} has {len(points)} points, most of them a pixel from the next: one dot was "
            "drawn as several pixels; mark each cell once."
        )


def check_agreement(one: FoundAnnotation, other: FoundAnnotation, picture: Path) -> None:
    """Check that two annotations of an image agree.

    Positions may differ by 4 px, or by half the median spacing of the cells if that is more.

    Raises:
        UserError: they differ in the number of cells or in their positions.
    """
    first, second = one.read, other.read
    if first.cells != second.cells:
        raise UserError(
            f"{one.file} has {first.cells} cells and {other.file} {second.cells}, both of "
            f"{picture.name}; take the wrong one out."
        )
    if first.points is None or second.points is None or not len(first.points):
        return
    tree = cKDTree(first.points)
    spacing = np.inf if len(first.points) < 2 else np.asarray(tree.query(first.points, 2)[0])[:, 1]
    allowed = max(_SAME_PX, float(np.median(spacing)) / 2 if np.isfinite(spacing).all() else 0.0)
    far = int((np.asarray(tree.query(second.points)[0]) > allowed).sum())
    if far:
        raise UserError(
            f"{one.file} and {other.file}, both of {picture.name}, have {far} cells at other "
            "places; take the wrong one out."
        )


def check_corner(points: Sequence[Points], sizes: Sequence[Size], *, calibrated: bool) -> None:
    """Check that points are not all in the same corner of their images; fewer than 20 pass.

    Args:
        points: (N, 2) px of each image.
        sizes: (width, height) px of each image.
        calibrated: whether the points may be in micrometres, for the advice.

    Raises:
        UserError: they are all in one corner.
    """
    cells = sum(map(len, points))
    if cells < _ENOUGH:
        return
    unit = np.concatenate([own / np.array(size) for own, size in zip(points, sizes, strict=True)])
    names = (("left", "right"), ("upper", "lower"))
    corner = []
    for axis in (0, 1):
        if unit[:, axis].max() < _CORNER:
            corner.append(names[axis][0])
        elif unit[:, axis].min() > 1 - _CORNER:
            corner.append(names[axis][1])
    if len(corner) == 2:
        mend = "if they are in micrometres, add --um-per-px" if calibrated else (
            "see whether they are of these pictures and in px"
        )  # fmt: skip
        raise UserError(
            f"All {cells} points are in the {corner[1]} {corner[0]} corner of their pictures; "
            f"{mend}."
        )
