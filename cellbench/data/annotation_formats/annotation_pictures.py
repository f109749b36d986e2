"""Reader of dot images and masks: one pixel, one mark or one object per cell.

The kind of an image follows from its pixels alone: a single pixel is a cell, even beside another;
an object of several pixels is one cell, whatever its size. Marks or objects that touch hide cells,
and such an image is rejected.
"""

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

# Objects that touch are larger than the median by this factor, and less solid than this.
_MUCH_LARGER = 1.4
_SOLID = 0.9
# Greatest share of the objects that may touch.
_MOST_JOINED = 0.02
# Greatest share of the pixels that dots of one pixel may cover.
_MOST_MARKED = 0.2


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
    values = np.unique(labels)
    numbered = len(values) > 2
    pieces, many = _pieces(labels)
    if many > MOST_CELLS:
        raise UserError(f"{path} has {many} marks, more than {MOST_CELLS}; see what it shows.")
    areas = np.bincount(pieces.ravel())[1:]
    single = bool(np.median(areas) == 1) and bool((areas == 1).mean() > 0.5)
    if format_ == "JPEG" and ((areas == 1).mean() < 0.8 or areas.max() > 4):
        raise UserError(
            f"{path} is a JPEG, which has blurred its dots into spots of up to {areas.max()} "
            "pixels; save it as PNG from where it was made."
        )
    dense = bool((labels != 0).mean() > _MOST_MARKED)
    if single and not dense and not (numbered and many <= 1.5 * (len(values) - 1)):
        rows, columns = np.nonzero(labels)
        points = np.stack([columns, rows], axis=1) + MASK_PIXELS.shift_px
        return [FileAnnotation(points.astype(np.float32), size=size, notes=(DOTS,))]
    if numbered or (single and dense):
        if (dense and single) or many > 1.5 * (len(values) - 1) + 5:
            raise UserError(
                f"{path} has {len(values) - 1} values in {many} pieces, and is neither a dot "
                "picture nor a mask with a number for each object; see what it shows."
            )
        return [FileAnnotation(label_points(labels), size=size, notes=(LABELS,))]
    note = _mark_or_object(pieces, areas, path)
    return [FileAnnotation(label_points(pieces), size=size, notes=(note,))]


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


def _mark_or_object(pieces: NDArray[np.int32], areas: NDArray[np.int64], path: Path) -> str:
    """Return the note that states whether pieces of one value are marks or objects.

    Raises:
        UserError: some of them touch.
    """
    sizes, counts = np.unique(areas, return_counts=True)
    common = int(sizes[counts.argmax()])
    if common <= LARGEST_MARK and counts.max() >= 0.5 * len(areas):
        joined = int((areas > common).sum())
        if joined:
            raise UserError(
                f"{path} has {len(areas)} marks, most of {common} pixels, and {joined} of them are "
                "larger: marks that touch cannot be told apart; draw one pixel for each cell."
            )
        return MARKS.format(pixels=common)
    joined = _joined(pieces, areas)
    if joined > max(1, _MOST_JOINED * len(areas)):
        raise UserError(
            f"{path} has {len(areas)} objects, and {joined} of them look like several that touch; "
            "save a mask with a number for each object, or a dot for each cell."
        )
    return OBJECTS


def _joined(pieces: NDArray[np.int32], areas: NDArray[np.int64]) -> int:
    """Return the number of objects that are much larger than most and not convex."""
    large = np.nonzero(areas > _MUCH_LARGER * np.median(areas))[0] + 1
    boxes = find_objects(pieces)
    return sum(solidity(pieces[boxes[k - 1]] == k) < _SOLID for k in large.tolist())
