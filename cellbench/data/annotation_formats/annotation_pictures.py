"""Reader of dot images and masks: one pixel, one mark or one object per cell.

The kind of an image follows from its pixels alone: a single pixel is a cell, even beside another;
an object of several pixels is one cell, whatever its size. Marks or objects that touch hide cells,
and such an image is rejected.
"""

from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from cellbench.data.annotation_formats.file_annotation import MOST_CELLS, FileAnnotation
from cellbench.data.annotation_formats.label_masks import label_points
from cellbench.data.annotation_formats.mask_ground import (
    EIGHT,
    LARGEST_MARK,
    background_value,
    solidity,
)
from cellbench.data.annotation_formats.native_pixels import read_native
from cellbench.data.point_conventions import MASK_PIXELS
from cellbench.errors import UserError
from cellbench.structures import no_points

DOTS = "Each marked pixel is one cell."
MARKS = "Each mark of {pixels} pixels is one cell."
OBJECTS = "Each object is one cell; two that touch would be one."
LABELS = "Each label of the mask is one cell."

# Share of the pieces that have one size: more are single pixels in an image of dots, at least this
# share has the size of a mark in one of marks.
_USUAL = 0.5
# Greatest number of pieces for each number of a mask, and how many more stray pieces may be there.
_PIECES_PER_NUMBER, _STRAY_PIECES = 1.5, 5
# Least share of single pixels, and greatest spot in pixels, of dots that JPEG has not blurred.
_SHARP, _LARGEST_SPOT = 0.8, 4
# Objects that touch are larger than the median by this factor, and less solid than this.
_MUCH_LARGER = 1.4
_SOLID = 0.9
# Greatest share of the objects that may touch.
_MOST_JOINED = 0.02
# Greatest share of the pixels that dots of one pixel may cover.
_MOST_MARKED = 0.2


class Kind(Enum):
    """Kind of an annotation image: what one cell is in it."""

    DOT = "one marked pixel"
    NUMBER = "all pixels of one number"
    MARK = "a piece of the few pixels that most pieces have"
    OBJECT = "a piece of any size"
    UNKNOWN = "none of these, as in a photograph"


def read_annotation_picture(path: Path) -> list[FileAnnotation]:
    """Read the cells of a dot image or mask.

    Raises:
        UserError: the file cannot be read, is a photograph, or its marks touch.
    """
    pixels, format_ = read_native(path)
    labels = _labels(pixels, path)
    size = (labels.shape[1], labels.shape[0])
    if not labels.any():
        return [FileAnnotation(no_points(), size=size)]
    numbers = len(np.unique(labels)) - 1
    pieces, many = _pieces(labels)
    if many > MOST_CELLS:
        raise UserError(f"{path} has {many} marks, more than {MOST_CELLS}; see what it shows.")
    areas = np.bincount(pieces.ravel())[1:]
    if format_ == "JPEG" and ((areas == 1).mean() < _SHARP or areas.max() > _LARGEST_SPOT):
        raise UserError(
            f"{path} is a JPEG, which has blurred its dots into spots of up to {areas.max()} "
            "pixels; save it as PNG from where it was made."
        )
    kind = _kind(labels, numbers, areas)
    if kind is Kind.UNKNOWN:
        raise UserError(
            f"{path} has {numbers} values in {many} pieces, and is neither a dot "
            "picture nor a mask with a number for each object; see what it shows."
        )
    if kind is Kind.DOT:
        rows, columns = np.nonzero(labels)
        points = np.stack([columns, rows], axis=1) + MASK_PIXELS.shift_px
        return [FileAnnotation(points.astype(np.float32), size=size, notes=(DOTS,))]
    if kind is Kind.NUMBER:
        return [FileAnnotation(label_points(labels), size=size, notes=(LABELS,))]
    if kind is Kind.MARK:
        _check_marks(areas, path)
        note = MARKS.format(pixels=_usual_area(areas))
    else:
        _check_objects(pieces, areas, path)
        note = OBJECTS
    return [FileAnnotation(label_points(pieces), size=size, notes=(note,))]


def _kind(labels: NDArray[np.int64], numbers: int, areas: NDArray[np.int64]) -> Kind:
    """Return the kind of an annotation image.

    Args:
        labels: (H, W), 0 for the background.
        numbers: number of different labels, without the background.
        areas: pixels of every piece.
    """
    if (areas == 1).mean() > _USUAL:
        if (labels != 0).mean() > _MOST_MARKED:
            return Kind.UNKNOWN
        if numbers <= 1 or len(areas) > _PIECES_PER_NUMBER * numbers:
            return Kind.DOT
    if numbers > 1:
        few = len(areas) <= _PIECES_PER_NUMBER * numbers + _STRAY_PIECES
        return Kind.NUMBER if few else Kind.UNKNOWN
    usual = _usual_area(areas)
    same = (areas == usual).mean() >= _USUAL
    return Kind.MARK if usual <= LARGEST_MARK and same else Kind.OBJECT


def _usual_area(areas: NDArray[np.int64]) -> int:
    """Return the most frequent area; of several, the smallest."""
    sizes, counts = np.unique(areas, return_counts=True)
    return int(sizes[counts.argmax()])


def _labels(pixels: NDArray[np.generic], path: Path) -> NDArray[np.int64]:
    """Return the labels of an annotation image, (H, W), 0 for the background."""
    if pixels.ndim == 3:
        same = (pixels == pixels[:, :, :1]).all()
        red, green, blue = (pixels[:, :, index].astype(np.int64) for index in range(3))
        if same:
            return _zero_background(red, path)
        # Noise of a few levels beside dots in one channel, as in JPEG, is not a label.
        if len(np.unique(red << 16 | green << 8 | blue)) > LARGEST_MARK and _two_levels(
            strongest := pixels.max(axis=2).astype(np.int64)
        ):
            return (strongest > strongest.max() // 2).astype(np.int64)
        return _zero_background(red << 16 | green << 8 | blue, path)
    if pixels.dtype.kind == "f":
        whole = np.nan_to_num(pixels, nan=0.0, posinf=0.5, neginf=0.5)
        if (whole != np.rint(whole)).any() or np.abs(whole).max() > 2**31:
            raise UserError(f"{path} holds fractions; a mask has a whole number for each object.")
        return _zero_background(whole.astype(np.int64), path)
    return _zero_background(pixels.astype(np.int64), path)


def _two_levels(values: NDArray[np.int64]) -> bool:
    """Return whether all values are near 0 or the maximum, which is 64 or more."""
    top = int(values.max())
    return top >= 64 and bool(((values <= 0.2 * top) | (values >= 0.8 * top)).all())


def _zero_background(values: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
    """Return labels of single-channel values, with 0 for the background.

    Of two values see `background_value`; of more it is 0, else the most frequent one.
    """
    known, counts = np.unique(values, return_counts=True)
    if len(known) == 1:
        # A mask without objects is all 0 or, if made of a blank page, one grey.
        return np.zeros_like(values)
    if len(known) > 2 and _two_levels(values):
        values = (values > int(values.max()) // 2).astype(np.int64)
        known, counts = np.unique(values, return_counts=True)
    if len(known) == 2 or 0 not in known:
        ground = background_value(values, path) if len(known) == 2 else int(known[counts.argmax()])
        return np.where(values == ground, 0, values + (1 if 0 in known and ground else 0))
    return values


def _pieces(labels: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """Return the 8-connected components of equal labels, numbered from 1, and their number."""
    values = np.unique(labels[labels != 0])
    if len(values) == 1:
        found, number = label(labels != 0, structure=EIGHT)
        return np.asarray(found, dtype=np.int32), int(number)
    # Each value is labelled in its own box, so that touching labels stay separate.
    compact = np.searchsorted(values, labels) + 1
    compact[labels == 0] = 0
    pieces, many = np.zeros(labels.shape, dtype=np.int32), 0
    for index, box in enumerate(find_objects(compact), start=1):
        if box is None:
            continue
        found, number = label(compact[box] == index, structure=EIGHT)
        pieces[box] = np.where(found > 0, found + many, pieces[box])
        many += int(number)
        if many > MOST_CELLS:
            break
    return pieces, many


def _check_marks(areas: NDArray[np.int64], path: Path) -> None:
    """Validate that no mark is larger than most.

    Raises:
        UserError: some are larger, which marks that touch would be.
    """
    usual = _usual_area(areas)
    joined = int((areas > usual).sum())
    if joined:
        raise UserError(
            f"{path} has {len(areas)} marks, most of {usual} pixels, and {joined} of them are "
            "larger: marks that touch cannot be told apart; draw one pixel for each cell."
        )


def _check_objects(pieces: NDArray[np.int32], areas: NDArray[np.int64], path: Path) -> None:
    """Validate that hardly any object has the shape of several that touch.

    Raises:
        UserError: more than 2 % of them have it, and more than one.
    """
    joined = _joined(pieces, areas)
    if joined > max(1, _MOST_JOINED * len(areas)):
        raise UserError(
            f"{path} has {len(areas)} objects, and {joined} of them look like several that touch; "
            "save a mask with a number for each object, or a dot for each cell."
        )


def _joined(pieces: NDArray[np.int32], areas: NDArray[np.int64]) -> int:
    """Return the number of objects that are much larger than most and not convex."""
    large = np.nonzero(areas > _MUCH_LARGER * np.median(areas))[0] + 1
    boxes = find_objects(pieces)
    return sum(solidity(pieces[boxes[k - 1]] == k) < _SOLID for k in large.tolist())
