"""Read and write point files: one cell per line, `x y` in pixels, or a table with a header."""

import errno
import re
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from cellbench.data.contracts import ReadPoints
from cellbench.data.point_conventions import (
    IMAGEJ_AREA,
    IMAGEJ_POINT,
    NAPARI,
    PIXEL_INDICES,
    TEXT,
    PointConvention,
)
from cellbench.errors import UserError
from cellbench.files.limits import POINTS
from cellbench.files.reading import read_file
from cellbench.structures import Points

WHOLE_NUMBERS = "Points in whole numbers only were taken as pixel indices: 0.5 was added."
PROGRAM_POINTS = "{program} has the centres of pixels at whole numbers: 0.5 was added."

_COUNTED = "# cells, places unknown:"
_SEPARATOR = re.compile(r" *[,;\t] *| +")
_INTEGER = re.compile(r"[+-]?[0-9]+").fullmatch
# Python's float also accepts nan, 1_0 and the digits of every script.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch
# Columns of ImageJ's tables that plain tables of coordinates lack.
_IMAGEJ_COLUMNS = {"area", "counter", "mean", "slice"}


def read_point_file(path: str | Path) -> ReadPoints:
    """Read a point file.

    A line holds x and y, separated by spaces, a comma, a semicolon or a tab; empty lines and the
    rest of a line after `#` are skipped. A first line of words is a header that names the columns:
    x and y (also in ImageJ's Results.csv), or axis-1 and axis-0 (napari), and any others.

    The coordinates of the first pixel's centre depend on the format, see `point_conventions`; a
    note records where 0.5 was added. A file without header, or with x and y alone, that holds only
    whole numbers is read as pixel indices.

    Args:
        path: text file in UTF-8.

    Returns:
        Points in the order of the lines, (0, 2) for an empty file; notes.

    Raises:
        UserError: the file does not exist or is not text, or a line is not a point; with its
            number.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist or is not a file; name a text file of 'x y' lines.")
    try:
        return parse_points(read_file(path, most=POINTS.size), path)
    except OSError as error:
        mend = POINTS.mend if error.errno == errno.EFBIG else "see its rights"
        raise UserError(f"{path} cannot be read ({error.strerror}); {mend}.") from error


def parse_points(data: bytes, path: Path) -> ReadPoints:
    """Parse the bytes of a point file, see `read_point_file`.

    Args:
        data: contents of the file.
        path: path of the file, for messages.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text; write one 'x y' line a cell in UTF-8.") from error
    header: list[str] | None = None
    convention, wanted, columns = TEXT, 2, (0, 1, 2)
    rows: list[tuple[float, ...]] = []
    whole = True
    for number, line in enumerate(lines, start=1):
        content = line.partition("#")[0].rstrip().lstrip(" ")
        if not content.strip():
            continue
        # An unnamed first column (ImageJ's row numbers) leaves a separator at the start.
        fields = [field.strip("\"'") for field in _SEPARATOR.split(content)]
        if header is None and not rows and len(fields) > 1 and not any(map(_NUMBER, fields)):
            header = [field.casefold() for field in fields]
            convention, wanted = _convention(header, path, number), len(header)
            area = header.index("area") if "area" in header else wanted
            columns = header.index(convention.x), header.index(convention.y), area
            continue
        texts = [[*fields, "0"][at] for at in columns] if len(fields) == wanted else []
        if not texts or not all(map(_NUMBER, texts)):
            raise _malformed(path, number, line)
        rows.append(tuple(map(float, texts)))
        whole = whole and all(map(_INTEGER, texts[:2]))
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)  # x, y and area, 0 without area
    shifts = np.where(table[:, 2:] > 0, IMAGEJ_AREA.shift_px, convention.shift_px)
    notes: tuple[str, ...] = ()
    if rows and whole and convention is TEXT:
        shifts, notes = np.full_like(shifts, PIXEL_INDICES.shift_px), (WHOLE_NUMBERS,)
    elif shifts.any():
        notes = (PROGRAM_POINTS.format(program="napari" if convention is NAPARI else "ImageJ"),)
    points = (table[:, :2] + shifts).astype(np.float32)
    if not np.isfinite(points).all():
        raise UserError(f"{path} holds a coordinate beyond any image; write pixels.")
    return ReadPoints(points, notes)


def format_points(points: ArrayLike) -> bytes:
    """Format points as a file that `read_point_file` reads back exactly.

    Args:
        points: (N, 2) finite numbers, (x, y) px, rounded to float32; none give an empty file.

    Returns:
        Contents of the file, with the fewest digits that restore each float32.

    Raises:
        ValueError: `points` is not an (N, 2) array of finite numbers.
    """
    array: Points = np.asarray(points, dtype=np.float32)
    if array.size == 0:
        return b""
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise ValueError(f"points must be finite and (N, 2), not {array.shape}")
    return "".join(f"{_shortest(x)} {_shortest(y)}\n" for x, y in array).encode("ascii")


def format_count(count: int) -> bytes:
    """Format a cell count without positions; `read_point_file` reads no points from such a file."""
    return f"{_COUNTED} {count}\n".encode("ascii")


def read_count(data: bytes) -> int | None:
    """Parse the cell count in a file of `format_count`; None for any other file."""
    found = re.fullmatch(_COUNTED.encode() + rb" ([0-9]{1,9})\n", data)
    return None if found is None else int(found[1])


def _shortest(value: np.float32) -> str:
    """Format with a point or an exponent, so that the file is never read as pixel indices."""
    text = str(value)
    # A reader rounds twice, to double and to float32; the digits of the double are always exact.
    return text if np.float32(float(text)) == value else repr(float(value))


def _convention(header: list[str], path: Path, number: int) -> PointConvention:
    for known in (TEXT, NAPARI):
        if header.count(known.x) == 1 and header.count(known.y) == 1:
            return IMAGEJ_POINT if known is TEXT and _IMAGEJ_COLUMNS & set(header) else known
    raise UserError(
        f"{path}, line {number}: the header names {', '.join(header)}; it must name one column "
        "x and one y."
    )


def _malformed(path: Path, number: int, line: str) -> UserError:
    shown = line.strip()
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    return UserError(f"{path}, line {number}: {shown!r} is not a point; write 'x y' in pixels.")
