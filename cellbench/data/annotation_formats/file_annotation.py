"""Content of an annotation file, and helpers shared by its readers."""

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
"""Greatest number of cells in one file."""


@dataclass(frozen=True, slots=True)
class FileAnnotation:
    """Annotation of one image, as a file states it.

    Attributes:
        points: (N, 2) float32, (x, y) in `unit`, the corner of the image at (0, 0); None if the
            file states only a number of cells.
        count: that number; None with points.
        picture: image name that the file states; None to match by the file's own name.
        size: (width, height) of the image in px; None if the file states none.
        unit: of the points; an ImageJ table is in px or in micrometres and does not state which,
            and a share is of the width and the height of the image.
        shift_px: half pixel to add to points that are converted from micrometres.
        notes: assumptions, one sentence each.
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
        """Number of cells."""
        return (self.count or 0) if self.points is None else len(self.points)


def read_annotation_bytes(path: Path) -> bytes:
    """Read the bytes of an annotation file.

    Raises:
        UserError: it is not a regular file, is too large or cannot be read.
    """
    try:
        return read_file(path, most=ANNOTATION.size)
    except OSError as error:
        mend = ANNOTATION.mend if error.errno == errno.EFBIG else "see its rights"
        raise UserError(f"{path} cannot be read ({error.strerror}); {mend}.") from error


def read_annotation_json(path: Path) -> Any:
    """Parse an annotation file as JSON.

    Raises:
        UserError: it is not JSON, or is nested too deeply.
    """
    data = read_annotation_bytes(path).removeprefix(b"\xef\xbb\xbf")
    try:
        return parse_json(data)
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is no JSON ({reason}); export the annotation again.") from None


@contextmanager
def explained_parsing(path: Path, program: str) -> Iterator[None]:
    """Convert any error of a parser on a damaged file into a `UserError` of one sentence.

    Args:
        path: of the file.
        program: whose format is read.
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
    """Convert the coordinates in a file to points.

    Args:
        places: (x, y) each.
        path: of the file, for messages.
        shift_px: added to both coordinates.

    Returns:
        (N, 2) float32; (0, 2) for none.

    Raises:
        UserError: a coordinate is not a finite number, or there are more than `MOST_CELLS`.
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


def finite_number(value: Any) -> float:
    """Parse a finite number of a JSON or XML file.

    Raises:
        ValueError: the value is not one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    if isinstance(value, str) and (not value.isascii() or "_" in value):
        raise ValueError(f"{value[:40]!r} is no number")
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"{str(value)[:40]!r} is no finite number")
    return found


def side_px(value: Any) -> int:
    """Parse a whole number of px, 1 to 2**31 - 1.

    Raises:
        ValueError: the value is not one.
    """
    found = finite_number(value)
    if found != int(found) or not 0 < found < 2**31:
        raise ValueError(f"{str(value)[:40]!r} is no number of pixels")
    return int(found)


def combined_classes_note(names: Sequence[str], what: str) -> tuple[str, ...]:
    """Return the note that several classes are counted together; empty for fewer than two.

    Args:
        names: of the classes, in any order.
        what: plural noun for the classes, for the note.
    """
    known = sorted({name for name in names if name})
    if len(known) < 2:
        return ()
    listed = ", ".join(known[:4]) + (f" and {len(known) - 4} more" if len(known) > 4 else "")
    return (f"The {what} {listed} are counted together.",)


def refuse_slices(path: Path, slices: int, what: str = "marks") -> None:
    """Reject annotations on several slices of a stack, which are several images.

    Args:
        path: of the file.
        slices: number of slices with annotations.
        what: plural noun for the annotations, for the message.

    Raises:
        UserError: there is more than one slice.
    """
    if slices > 1:
        raise UserError(
            f"{path} has {what} on {slices} slices of a stack; save the slice that is counted as a "
            f"picture of its own, with its own {what}."
        )
