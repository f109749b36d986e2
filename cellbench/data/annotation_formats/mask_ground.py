"""Which of two values of a mask is the ground between the cells."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from cellbench.errors import UserError

EIGHT = np.ones((3, 3), dtype=np.int8)
# Pixels of a mark that people draw for a dot: a cross of 5, a square of 9 or 25.
LARGEST_MARK = 25
# Gaps between discs that touch fill up to 0.75 of their convex hull, and most cells more.
_SOLID = 0.8
# A piece that reaches over so much of both edges of a mask is its ground or its walls.
_WHOLE = 0.95
_MOST_HULLS = 200


def ground_of(values: NDArray[np.int64], path: Path) -> int:
    """The value of the ground, of two.

    It is the more frequent one, as 0 of most masks and the paper of marks on white are, unless the
    other one forms large pieces: then both are tried as cells, for cells may cover most of a mask.
    Cells are solid, and none of them reaches over the whole mask.

    Args:
        values: (H, W), of two values.
        path: of the mask, for messages.

    Raises:
        UserError: neither is cells, both are, or cells have the value 0 that the ground has.
    """
    known, counts = np.unique(values, return_counts=True)
    often, rare = int(known[counts.argmax()]), int(known[1 - counts.argmax()])
    pieces, many = label(values == rare, structure=EIGHT)
    areas = np.bincount(pieces.ravel())[1:]
    if areas[areas > LARGEST_MARK].sum() <= areas.sum() / 2:
        return often  # dots and marks
    if often == 0 and not _reaches_over(pieces):
        return often
    others, many_others = label(values == often, structure=EIGHT)
    if rare == 0 and _reaches_over(pieces) and not _reaches_over(others):
        return rare  # as nearly always, and it lies around the pieces of the other value
    rare_are_cells, often_are_cells = _are_cells(pieces), _are_cells(others)
    if often == 0 and not often_are_cells:
        return often
    if often != 0 and rare_are_cells != often_are_cells:
        return often if rare_are_cells else rare
    raise UserError(
        f"{path} has {many} pieces of {_named(rare)} and {many_others} of {_named(often)}, and "
        "either may be the ground; save it with 0 between the cells and a number for each cell."
    )


def _named(value: int) -> str:
    return f"#{value:06x}" if value > 0xFFFF else str(value)


def _are_cells(pieces: NDArray[Any]) -> bool:
    """Whether pieces of a mask look like cells: solid, and none reaches over the whole."""
    if _reaches_over(pieces):
        return False
    areas = np.bincount(pieces.ravel())[1:]
    large = np.nonzero(areas > LARGEST_MARK)[0] + 1
    if not len(large):
        return False
    some = large[:: -(-len(large) // _MOST_HULLS)].tolist()
    boxes = find_objects(pieces)
    return bool(np.median([solidity(pieces[boxes[k - 1]] == k) for k in some]) >= _SOLID)


def _reaches_over(pieces: NDArray[Any]) -> bool:
    """Whether any piece reaches over both edges of the mask."""
    return any(
        all(
            own.stop - own.start >= _WHOLE * length
            for own, length in zip(box, pieces.shape, strict=True)
        )
        for box in find_objects(pieces)
        if box is not None
    )


def solidity(mask: NDArray[np.bool_]) -> float:
    """Area of an object over that of its convex hull, both with the corners of its pixels."""
    from scipy.spatial import ConvexHull, QhullError

    rows, columns = np.nonzero(mask)
    corners = np.concatenate(
        [np.stack([columns + x, rows + y], axis=1) for x in (0, 1) for y in (0, 1)]
    )
    try:
        return float(len(rows) / ConvexHull(corners).volume)
    except QhullError:
        return 1.0
