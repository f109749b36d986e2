"""Files of points: one cell a line, `x y` in pixels, or a table with a header."""

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
_INTEGER = re.compile(r"[+-]?[0-9]+")
# Columns that ImageJ writes beside X and Y, and plain tables of coordinates do not.
_IMAGEJ_COLUMNS = {"area", "counter", "mean", "slice"}


def read_point_file(path: str | Path) -> ReadPoints:
    """Read a file of points.

    A line holds x and y, separated by blanks, a comma, a semicolon or a tab; empty lines and what
    follows a `#` are skipped. A first line of words is a header that names the columns: x and y
    (in ImageJ's Results.csv too), or axis-1 and axis-0 (napari); further columns are allowed then.

    Where the centre of the first pixel lies depends on the format, see `point_conventions`: a
    note says where 0.5 was added. A file without header, or with x and y alone, that holds whole
    numbers only holds pixel indices.

    Args:
        path: a text file in UTF-8.

    Returns:
        Points in the order of the lines, (0, 2) for an empty file; notes.

    Raises:
        UserError: no such file, not text, or a line that is no point, with its number.
    """
    path = Path(path)
    header: list[str] | None = None
    convention, columns, area = TEXT, (0, 1), None
    rows: list[tuple[float, float]] = []
    shifts: list[float] = []
    whole = True
    for number, line in enumerate(_text(path).splitlines(), start=1):
        content = line.partition("#")[0].rstrip().lstrip(" ")
        if not content.strip():
            continue
        # A column without a name (ImageJ's row numbers) leaves a separator at the start.
        fields = [field.strip("\"'") for field in _SEPARATOR.split(content)]
        if header is None and not rows and _is_header(fields):
            header = [field.casefold() for field in fields]
            convention = _convention(header, path, number)
            columns = header.index(convention.x), header.index(convention.y)
            area = header.index("area") if "area" in header else None
            continue
        if len(fields) != (2 if header is None else len(header)):
            raise _malformed(path, number, line)
        x, y = fields[columns[0]], fields[columns[1]]
        whole = whole and bool(_INTEGER.fullmatch(x) and _INTEGER.fullmatch(y))
        rows.append((_number(x, path, number, line), _number(y, path, number, line)))
        is_area = area is not None and _number(fields[area], path, number, line) > 0
        shifts.append((IMAGEJ_AREA if is_area else convention).shift_px)
    notes: tuple[str, ...] = ()
    if rows and whole and convention is TEXT:
        shifts, notes = [PIXEL_INDICES.shift_px] * len(rows), (WHOLE_NUMBERS,)
    elif any(shifts):
        program = "napari" if convention is NAPARI else "ImageJ"
        notes = (PROGRAM_POINTS.format(program=program),)
    points = np.array(rows, dtype=np.float64).reshape(-1, 2) + np.array(shifts).reshape(-1, 1)
    if not np.isfinite(points.astype(np.float32)).all():
        raise UserError(f"{path} holds a coordinate beyond any image; write pixels.")
    return ReadPoints(points.astype(np.float32), notes)


def format_points(points: ArrayLike) -> bytes:
    """Format points as a file that `read_point_file` reads back exactly.

    Args:
        points: (N, 2) finite numbers, (x, y) px, as float32; none give an empty file.

    Returns:
        The bytes, with the fewest digits that give back each float32.

    Raises:
        ValueError: `points` is no (N, 2) array of finite numbers.
    """
    array: Points = np.asarray(points, dtype=np.float32)
    if array.size == 0:
        return b""
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise ValueError(f"points must be finite and (N, 2), not {array.shape}")
    return "".join(f"{_shortest(x)} {_shortest(y)}\n" for x, y in array).encode("ascii")


def format_count(count: int) -> bytes:
    """Format a number of cells without places: `read_point_file` reads such a file as no points."""
    return f"{_COUNTED} {count}\n".encode("ascii")


def read_count(data: bytes) -> int | None:
    """The number of cells in a file of `format_count`; None for another one."""
    found = re.fullmatch(_COUNTED.encode() + rb" ([0-9]{1,9})\n", data)
    return None if found is None else int(found[1])


def _shortest(value: np.float32) -> str:
    """Digits with a point or an exponent, so that the file is never read as pixel indices."""
    text = str(value)
    # A reader rounds twice, to double and to float32; the digits of the double are always exact.
    return text if np.float32(float(text)) == value else repr(float(value))


def _text(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} does not exist or is not a file; name a text file of 'x y' lines.")
    try:
        return read_file(path, most=POINTS.size).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text; write one 'x y' line a cell in UTF-8.") from error
    except OSError as error:
        mend = POINTS.mend if error.errno == errno.EFBIG else "see its rights"
        raise UserError(f"{path} cannot be read ({error.strerror}); {mend}.") from error


def _is_header(fields: list[str]) -> bool:
    """Words that name columns, none of them a number."""
    for field in fields:
        try:
            float(field)
        except ValueError:
            continue
        return False
    return len(fields) >= 2


def _convention(header: list[str], path: Path, number: int) -> PointConvention:
    for known in (TEXT, NAPARI):
        if header.count(known.x) == 1 and header.count(known.y) == 1:
            return IMAGEJ_POINT if known is TEXT and _IMAGEJ_COLUMNS & set(header) else known
    raise UserError(
        f"{path}, line {number}: the header names {', '.join(header)}; it must name one column "
        "x and one y."
    )


def _number(text: str, path: Path, number: int, line: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _malformed(path, number, line) from None
    # Python reads 1_0 as 10, and the digits of every script.
    if "_" in text or not text.isascii() or not np.isfinite(value):
        raise _malformed(path, number, line)
    return value


def _malformed(path: Path, number: int, line: str) -> UserError:
    shown = line.strip()
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    return UserError(f"{path}, line {number}: {shown!r} is not a point; write 'x y' in pixels.")
