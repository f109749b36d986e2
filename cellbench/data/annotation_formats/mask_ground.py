"""Background value of a mask with two values."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from cellbench.errors import UserError

EIGHT = np.ones((3, 3), dtype=np.int8)
# Pixels of the largest mark that people draw for a dot: a cross has 5, a square 9 or 25.
LARGEST_MARK = 25
# Gaps between touching discs fill up to 0.75 of their convex hull, and most cells more.
_SOLID = 0.8
# A piece that spans this share of both edges of a mask is its background or its walls.
_WHOLE = 0.95
_MOST_HULLS = 200


def background_value(values: NDArray[np.int64], path: Path) -> int:
    """Return the background value of a mask.

    It is the more frequent value (0 in most masks, the paper of marks on white), unless the other
    one forms large pieces: then both may be cells, for cells may cover most of a mask. Cells are
    solid, and none of them spans the whole mask. Of two such values the background is

    - 0 if it is the more frequent one, unless it has the shape of cells and the other one spans
      the mask, as walls between them do;
    - 0 if it is the rarer one, and it alone spans the mask;
    - else the only one that has not the shape of cells.

    Args:
        values: (H, W), with two distinct values.
        path: of the mask, for messages.

    Raises:
        UserError: neither value forms cells, both do, or the cells have the background's value 0.
    """
    known, counts = np.unique(values, return_counts=True)
    often, rare = int(known[counts.argmax()]), int(known[1 - counts.argmax()])
    pieces, many = label(values == rare, structure=EIGHT)
    areas = np.bincount(pieces.ravel())[1:]
    if areas[areas > LARGEST_MARK].sum() <= areas.sum() / 2:
        return often  # dots and marks
    others, many_others = label(values == often, structure=EIGHT)
    if often == 0:
        if not (_any_spans_mask(pieces) and _are_cells(others)):
            return 0
    elif rare == 0 and _any_spans_mask(pieces) and not _any_spans_mask(others):
        return 0
    elif (rare_are_cells := _are_cells(pieces)) != _are_cells(others):
        return often if rare_are_cells else rare
    raise UserError(
        f"{path} has {many} pieces of {_as_text(rare)} and {many_others} of {_as_text(often)}, and "
        "either may be the ground; save it with 0 between the cells and a number for each cell."
    )


def _as_text(value: int) -> str:
    return f"#{value:06x}" if value > 0xFFFF else str(value)


def _are_cells(pieces: NDArray[Any]) -> bool:
    """Return whether pieces have the shape of cells: solid, and none spans the whole mask."""
    if _any_spans_mask(pieces):
        return False
    areas = np.bincount(pieces.ravel())[1:]
    large = np.nonzero(areas > LARGEST_MARK)[0] + 1
    if not len(large):
        return False
    some = large[:: -(-len(large) // _MOST_HULLS)].tolist()
    boxes = find_objects(pieces)
    return bool(np.median([solidity(pieces[boxes[k - 1]] == k) for k in some]) >= _SOLID)


def _any_spans_mask(pieces: NDArray[Any]) -> bool:
    """Return whether any piece spans both edges of the mask."""
    return any(
        all(
            side.stop - side.start >= _WHOLE * length
            for side, length in zip(box, pieces.shape, strict=True)
        )
        for box in find_objects(pieces)
        if box is not None
    )


def solidity(mask: NDArray[np.bool_]) -> float:
    """Compute the ratio of an object's area to that of the convex hull of its pixels' corners."""
    from scipy.spatial import ConvexHull, QhullError

    rows, columns = np.nonzero(mask)
    corners = np.concatenate(
        [np.stack([columns + x, rows + y], axis=1) for x in (0, 1) for y in (0, 1)]
    )
    try:
        return float(len(rows) / ConvexHull(corners).volume)
    except QhullError:
        return 1.0
