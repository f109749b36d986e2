"""Reading and writing of the rows of `counts.csv` and `points.csv`."""

import csv
import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellbench.files.limits import FILE
from cellbench.files.reading import read_file
from cellbench.ranking.tables import csv_cell, unformulated
from cellbench.structures import Prediction

COUNT_HEAD = (
    "image", "count", "low90", "high90", "per_mm2", "width_px", "height_px", "points", "sha256",
    "black", "white", "um_per_px", "notes",
)  # fmt: skip
# Columns that are missing in tables of earlier versions.
NEWER = ("low90", "high90")
POINT_HEAD = ("image", "x_px", "y_px", "score")


@dataclass(frozen=True, slots=True)
class Counted:
    """Row of `counts.csv`: a counted picture.

    Attributes:
        image: its name in the tables, see `shown_name`.
        count: cells, not rounded.
        per_mm2: cells per square millimetre; None if the size of a pixel is unknown.
        size: (width, height), px.
        points: number of its rows in `points.csv`; None for a method without points.
        sha256: hash of its file.
        range: values of the file that were mapped to black and white.
        um_per_px: edge of a pixel, micrometres; None if unknown.
        notes: sentences on how it was read, separated by "; ".
        interval: lower and upper end of the 90 % prediction interval of the count, for pictures
            like those that the method was tested on; None if its record has too few of them.
    """

    image: str
    count: float
    per_mm2: float | None
    size: tuple[int, int]
    points: int | None
    sha256: str
    range: tuple[float, float] = (0.0, 255.0)
    um_per_px: float | None = None
    notes: str = ""
    interval: tuple[float, float] | None = None


def shown_name(path: Path) -> str:
    """Return a picture's name in the tables: its path, safe for spreadsheets and terminals.

    Spaces of all widths are kept, since names may differ only in them.
    """
    text = "".join(" " if c in "\n\r\t\v\f" else c for c in str(path))
    seen = (c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))
    return unformulated("".join(seen))


def point_lines(image: str, found: Prediction) -> tuple[bytes, Prediction]:
    """Format the rows of a picture's cells, and return them with the cells rounded as in the rows.

    With a million cells every Python operation per cell takes seconds, hence only one.
    """
    if found.points is None:
        return b"", found
    numbers = np.asarray(found.points, dtype=np.float64)
    if found.scores is not None:
        numbers = np.column_stack([numbers, np.asarray(found.scores, dtype=np.float64)])
    form = ",".join(["%.4f"] * numbers.shape[1])
    texts = [form % tuple(row) for row in numbers.tolist()]
    begin = csv_lines([[image, ""]]).decode("utf-8").rstrip("\n")
    end = "\n" if found.scores is not None else ",\n"
    lines = "".join([f"{begin}{text}{end}" for text in texts]).encode("utf-8")
    rounded = np.fromstring(",".join(texts), sep=",") if texts else np.zeros(0)
    table = rounded.reshape(numbers.shape).astype(np.float32)
    scores = None if found.scores is None else table[:, 2]
    return lines, Prediction(found.count, table[:, :2], scores)


def count_row(counted: Counted) -> tuple[Any, ...]:
    """Return the row of a picture in `counts.csv`, in the order of `COUNT_HEAD`."""
    return (
        counted.image,
        f"{counted.count:.10g}",
        *(("", "") if counted.interval is None else (f"{end:.6g}" for end in counted.interval)),
        "" if counted.per_mm2 is None else f"{counted.per_mm2:.6g}",
        *counted.size,
        "" if counted.points is None else counted.points,
        counted.sha256,
        *(f"{end:.10g}" for end in counted.range),
        "" if counted.um_per_px is None else f"{counted.um_per_px:.6g}",
        csv_cell(counted.notes),
    )


def csv_lines(rows: Sequence[Sequence[Any]]) -> bytes:
    """Return rows as CSV, encoded as UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


def text_of(path: Path) -> str:
    """Read a text file; empty if it cannot be read or is not UTF-8."""
    try:
        return read_file(path, most=FILE.size).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _read(path: Path, head: Sequence[str]) -> list[list[str]]:
    """Read the complete rows of a table; empty if there is no such table."""
    text = text_of(path)
    whole = text[: text.rfind("\n") + 1]  # an interrupted write leaves a line without its end
    with suppress(csv.Error):
        rows = list(csv.reader(io.StringIO(whole)))
        if rows and set(rows[0]) >= set(head) - set(NEWER):
            named = [
                dict(zip(rows[0], row, strict=True)) for row in rows[1:] if len(row) == len(rows[0])
            ]
            return [[row.get(column, "") for column in head] for row in named]
    return []


def read_counts(path: Path) -> dict[str, Counted]:
    """Read the pictures of `counts.csv` by name; incomplete and invalid rows are skipped."""
    found = {}
    for row in _read(path, COUNT_HEAD):
        cell = dict(zip(COUNT_HEAD, row, strict=True))
        low, high = cell["low90"], cell["high90"]
        with suppress(ValueError):
            found[cell["image"]] = Counted(
                image=cell["image"],
                count=_number(cell["count"]),
                interval=(_number(low), _number(high)) if low and high else None,
                per_mm2=_number(cell["per_mm2"]) if cell["per_mm2"] else None,
                size=(_whole(cell["width_px"]), _whole(cell["height_px"])),
                points=_whole(cell["points"]) if cell["points"] else None,
                sha256=cell["sha256"],
                range=(_number(cell["black"]), _number(cell["white"])),
                um_per_px=_number(cell["um_per_px"]) if cell["um_per_px"] else None,
                notes=cell["notes"],
            )
    return found


def _number(text: str) -> float:
    """Parse a finite number in ASCII.

    Raises:
        ValueError: it is none.
    """
    value = float(text)
    if not text.isascii() or not math.isfinite(value):
        raise ValueError(text)
    return value


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise ValueError(text)
    return int(text)


def prediction_of(count: float, rows: Sequence[Sequence[str]]) -> Prediction:
    """Return a count with its cells, from their rows in `points.csv`."""
    numbers = np.array([value for row in rows for value in row[1:] if value], dtype=np.float64)
    table = numbers.astype(np.float32).reshape(len(rows), -1 if rows else 2)
    return Prediction(count, table[:, :2], table[:, 2] if table.shape[1] > 2 else None)


def read_points(path: Path, known: Mapping[str, Counted]) -> dict[str, list[list[str]]]:
    """Read the rows of `points.csv` by picture, for the pictures in `known`."""
    found: dict[str, list[list[str]]] = {}
    for row in _read(path, POINT_HEAD):
        if row[0] in known:
            found.setdefault(row[0], []).append(row)
    return {name: rows if _all_numbers(rows) else _valid_rows(rows) for name, rows in found.items()}


def _all_numbers(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether all coordinates and scores are finite numbers in ASCII."""
    values = [value for row in rows for value in row[1:] if value]
    try:
        return "".join(values).isascii() and bool(np.isfinite(np.array(values, np.float64)).all())
    except ValueError:
        return False


def _valid_rows(rows: Sequence[list[str]]) -> list[list[str]]:
    """Return the rows with valid numbers; if some are missing, the picture is counted again."""
    kept = []
    for row in rows:
        with suppress(ValueError):
            [_number(value) for value in row[1:] if value]
            kept.append(row)
    return kept
