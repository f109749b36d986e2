"""Point files: one cell a line, `x y` in pixels."""

import errno
import re
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from cellbench.data.contracts import ReadPoints
from cellbench.errors import UserError
from cellbench.files.limits import POINTS
from cellbench.files.reading import read_file
from cellbench.files.writing import write_atomically
from cellbench.structures import Points

WHOLE_NUMBERS = "Points in whole numbers only were taken as pixel indices: 0.5 was added."

_SEPARATOR = re.compile(r" *[,;\t] *| +")
_INTEGER = re.compile(r"[+-]?[0-9]+")
# napari names the axes of an array: axis-0 is the row.
_X_NAMES = ("x", "axis-1")
_Y_NAMES = ("y", "axis-0")


def read_points(path: str | Path) -> ReadPoints:
    """Read a point file.

    A line holds x and y, parted by blanks, a comma, a semicolon or a tab; empty lines and what
    follows a `#` are passed over. A first line of words is a header: it says which columns are x
    and y (or axis-1 and axis-0, as napari writes), and further columns are allowed then.

    A file of whole numbers only holds pixel indices: 0.5 is added to reach the pixels' centres,
    and a note says so. Other numbers are taken as they are.

    Args:
        path: a text file in UTF-8.

    Returns:
        Points in the order of the lines, (0, 2) for an empty file; notes.

    Raises:
        UserError: no such file, not text, or a line that is no point, with its number.
    """
    path = Path(path)
    header: list[str] | None = None
    columns = (0, 1)
    rows: list[tuple[float, float]] = []
    whole = True
    for number, line in enumerate(_text(path).splitlines(), start=1):
        content = line.partition("#")[0].rstrip().lstrip(" ")
        if not content.strip():
            continue
        # A column without a name (ImageJ's row numbers) leaves a separator at the start.
        fields = [field.strip("\"'") for field in _SEPARATOR.split(content)]
        if header is None and not rows and _is_header(fields):
            header = [field.casefold() for field in fields]
            columns = _columns(header, path, number)
            continue
        if len(fields) != (2 if header is None else len(header)):
            raise _malformed(path, number, line)
        x, y = fields[columns[0]], fields[columns[1]]
        whole = whole and bool(_INTEGER.fullmatch(x) and _INTEGER.fullmatch(y))
        rows.append((_number(x, path, number, line), _number(y, path, number, line)))
    points = np.array(rows, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(points.astype(np.float32)).all():
        raise UserError(f"{path} holds a coordinate beyond any image; write pixels.")
    if rows and whole:
        return ReadPoints((points + 0.5).astype(np.float32), (WHOLE_NUMBERS,))
    return ReadPoints(points.astype(np.float32))


def write_points(path: str | Path, points: ArrayLike) -> None:
    """Write a point file that `read_points` reads back exactly, as a whole or not at all.

    Args:
        path: the file.
        points: (N, 2) finite numbers, (x, y) px, stored as float32; none give an empty file.

    Raises:
        UserError: the file cannot be written.
        ValueError: `points` is no (N, 2) array of finite numbers.
    """
    write_atomically(Path(path), format_points(points))


def format_points(points: ArrayLike) -> bytes:
    """The bytes of a point file: the fewest digits that give back each float32."""
    array: Points = np.asarray(points, dtype=np.float32)
    if array.size == 0:
        return b""
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise ValueError(f"points must be finite and (N, 2), not {array.shape}")
    return "".join(f"{_shortest(x)} {_shortest(y)}\n" for x, y in array).encode("ascii")


def _shortest(value: np.float32) -> str:
    """Always with a point or an exponent, so that the file is never taken for pixel indices."""
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


def _columns(header: list[str], path: Path, number: int) -> tuple[int, int]:
    for x, y in zip(_X_NAMES, _Y_NAMES, strict=True):
        if header.count(x) == 1 and header.count(y) == 1:
            return header.index(x), header.index(y)
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
