"""Reader of YOLO: one text per image, each line a class and shares of the image's sides."""

from pathlib import Path

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    combined_classes_note,
    explained_parsing,
    finite_number,
    points_array,
)
from cellbench.data.annotation_formats.shapes import polygon_centroid
from cellbench.data.annotation_formats.table_text import numbered_lines
from cellbench.errors import UserError

PROGRAM = "YOLO"

_NOTE = "Each box or outline of YOLO is one cell, at its middle."
# Fields of a box: class, x, y, width and height; a prediction appends its score.
_BOX = (5, 6)
# A box may exceed the border a little, by rounding.
_MOST_SHARE = 1.01


def is_yolo(path: Path) -> bool:
    """Return whether the first 20 lines of a text each have a class and four or more numbers."""
    try:
        lines, separator = numbered_lines(path)
        return bool(lines) and separator is None and all(_numbers(line) for _, line in lines[:20])
    except (UserError, ValueError):
        return False


def read_yolo(path: Path) -> list[FileAnnotation]:
    """Read one cell per line: the middle of its box or outline, in shares of the sides.

    Raises:
        UserError: a line is in another format; the message states its number.
    """
    places, classes = [], set()
    with explained_parsing(path, PROGRAM):
        for at, line in numbered_lines(path)[0]:
            corners = _places(line)
            if not corners:
                raise UserError(
                    f"{path}, line {at} is neither x and y alone nor a line of YOLO; write a "
                    "class, then x, y, width and height of a box, or the corners of an outline, "
                    "as shares of 0 to 1."
                )
            places.append(corners[0] if len(corners) == 1 else polygon_centroid([corners]))
            classes.add(line.split()[0])
    notes = (_NOTE, *combined_classes_note(sorted(classes), "classes"))
    return [FileAnnotation(points_array(places, path), unit="share", notes=notes)]


def _numbers(line: str) -> list[float]:
    """Parse the numbers after the class of a line; empty for another line."""
    kind, *rest = line.split()
    if not (kind.isascii() and kind.isdecimal()) or len(rest) < _BOX[0] - 1:
        return []
    try:
        return [finite_number(one) for one in rest]
    except ValueError:
        return []


def _places(line: str) -> list[tuple[float, float]]:
    """Parse the middle of a line's box, or the corners of its outline; empty for another line."""
    shares = _numbers(line)
    if not all(0 <= share <= _MOST_SHARE for share in shares):
        return []
    if len(shares) + 1 in _BOX:
        return [(shares[0], shares[1])]
    if len(shares) % 2:
        return []
    return list(zip(shares[::2], shares[1::2], strict=True))
