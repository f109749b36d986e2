"""What an annotation file states of a picture, and how such files are opened."""

import errno
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cellbench.errors import UserError
from cellbench.files.limits import ANNOTATION
from cellbench.files.reading import parse_json, read_file
from cellbench.structures import Points, no_points

Unit = Literal["px", "px or um", "um", "share"]

MOST_CELLS = 2_000_000
"""Cells in one file."""


@dataclass(frozen=True, slots=True)
class FileAnnotation:
    """What a file states of one picture.

    Attributes:
        points: (N, 2) float32, (x, y) px, the corner of the picture at (0, 0); None if the file
            states a number of cells alone.
        count: that number; None with points.
        picture: name that the file gives of its picture; None if it goes by its own name.
        size: (width, height) in px that it gives of the picture; None if it gives none.
        unit: of the points; an ImageJ table is in px or in micrometres and does not state which,
            and a share is of the width and the height of the picture.
        shift_px: half pixel to add to points that are converted from micrometres.
        notes: what was assumed, one sentence each.
    """

    points: Points | None
    count: int | None = None
    picture: str | None = None
    size: tuple[int, int] | None = None
    unit: Unit = "px"
    shift_px: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> int:
        """The number of cells."""
        return (self.count or 0) if self.points is None else len(self.points)


def read_annotation_bytes(path: Path) -> bytes:
    """The bytes of an annotation file.

    Raises:
        UserError: it is no regular file, too large or cannot be read.
    """
    try:
        return read_file(path, most=ANNOTATION.size)
    except OSError as error:
        mend = ANNOTATION.mend if error.errno == errno.EFBIG else "see its rights"
        raise UserError(f"{path} cannot be read ({error.strerror}); {mend}.") from error


def read_annotation_json(path: Path) -> Any:
    """The values of a JSON file.

    Raises:
        UserError: it is no JSON, or nested too deeply.
    """
    data = read_annotation_bytes(path).removeprefix(b"\xef\xbb\xbf")
    try:
        return parse_json(data)
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is no JSON ({reason}); export the annotation again.") from None


@contextmanager
def reading(path: Path, program: str) -> Iterator[None]:
    """Turn what a parser raises on a damaged file into one sentence.

    Args:
        path: of the file.
        program: whose format it is in.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # parsers raise nearly anything on hostile bytes
        words = " ".join(str(error).split()).rstrip(".")[:100]
        raise UserError(
            f"{path} cannot be read as an annotation of {program} "
            f"({words or type(error).__name__}); export it again."
        ) from error


def points_array(places: Sequence[Sequence[float]], path: Path, shift_px: float = 0.0) -> Points:
    """Points from numbers of a file.

    Args:
        places: (x, y) each.
        path: of the file, for messages.
        shift_px: added to both coordinates.

    Returns:
        (N, 2) float32; (0, 2) for none.

    Raises:
        UserError: a coordinate is not finite or no number, or there are more than `MOST_CELLS`.
    """
    if len(places) > MOST_CELLS:
        raise UserError(f"{path} has {len(places)} cells, more than {MOST_CELLS}; divide it.")
    if not len(places):
        return no_points()
    points = np.asarray(places, dtype=np.float64).reshape(len(places), 2) + shift_px
    with np.errstate(over="ignore"):
        found = points.astype(np.float32)
    if not np.isfinite(found).all():
        raise UserError(f"{path} holds a coordinate beyond any picture; export it again.")
    return found


def number(value: Any) -> float:
    """A finite number of a JSON or XML file.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    if isinstance(value, str) and (not value.isascii() or "_" in value):
        raise ValueError(f"{value[:40]!r} is no number")
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"{str(value)[:40]!r} is no finite number")
    return found


def edge(value: Any) -> int:
    """A whole number of px, 1 to 2**31.

    Raises:
        ValueError: it is none.
    """
    found = number(value)
    if found != int(found) or not 0 < found < 2**31:
        raise ValueError(f"{str(value)[:40]!r} is no number of pixels")
    return int(found)


def together(names: Sequence[str], what: str) -> tuple[str, ...]:
    """The note that cells of several classes are counted together; none for one class.

    Args:
        names: of the classes, in any order.
        what: classes are called, in the plural.
    """
    known = sorted({name for name in names if name})
    if len(known) < 2:
        return ()
    listed = ", ".join(known[:4]) + (f" and {len(known) - 4} more" if len(known) > 4 else "")
    return (f"The {what} {listed} are counted together.",)


def refuse_slices(path: Path, slices: int, what: str = "marks") -> None:
    """Refuse what lies on several slices of a stack, which are several pictures.

    Args:
        path: of the file.
        slices: how many there are.
        what: lies on them, in the plural.

    Raises:
        UserError: there is more than one.
    """
    if slices > 1:
        raise UserError(
            f"{path} has {what} on {slices} slices of a stack; save the slice that is counted as a "
            f"picture of its own, with its own {what}."
        )
