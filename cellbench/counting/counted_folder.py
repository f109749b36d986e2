"""The tables of a counted folder, read for looking at them and correcting them."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.counting.count_tables import COUNTS, METHOD, POINTS
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import read_file, read_json

_COUNT_COLUMNS = ("image", "count", "width_px", "height_px", "points", "sha256")
_POINT_COLUMNS = ("image", "x_px", "y_px", "score")
_LARGEST_SIDE_PX = 2**26


@dataclass(frozen=True)
class CountedPicture:
    """A line of `counts.csv` with its cells.

    Attributes:
        name: in the tables.
        count: of the method, cells.
        size: (width, height), px.
        points: (N, 2) float64, (x, y) px, to the digits of the table; None for a method without
            places.
        scores: (N,), NaN where a cell has none.
        sha256: of the picture's file when it was counted.
    """

    name: str
    count: float
    size: tuple[int, int]
    points: NDArray[np.float64] | None
    scores: NDArray[np.float32]
    sha256: str

    @property
    def places(self) -> NDArray[np.float64]:
        """The points; (0, 2) for a method without places."""
        return np.zeros((0, 2)) if self.points is None else self.points

    @property
    def scored(self) -> bool:
        """Whether its cells have scores."""
        return bool(len(self.scores)) and bool(np.isfinite(self.scores).all())


@dataclass(frozen=True)
class CountedFolder:
    """A folder that `cellbench count` wrote.

    Attributes:
        folder: of the tables.
        pictures: in the order of the table.
        um_per_px: edge of a pixel in micrometres; None where it is not known.
        method: name of what counted; empty where it is not known.
    """

    folder: Path
    pictures: tuple[CountedPicture, ...]
    um_per_px: float | None
    method: str


def read_counted(folder: Path) -> CountedFolder:
    """Read the tables of a counted folder.

    Raises:
        UserError: the folder holds no counts, or a line of its tables is not what it should be.
    """
    lines = _table(folder / COUNTS, _COUNT_COLUMNS)
    if not lines:
        raise UserError(f"{folder / COUNTS} lists no picture; `cellbench count` fills it.")
    cells: dict[str, list[tuple[float, float, float]]] = {line["image"]: [] for _, line in lines}
    if len(cells) < len(lines):
        raise UserError(f"{folder / COUNTS} lists a picture twice; count it again.")
    wanted = any(line["points"] for _, line in lines)
    for number, line in _table(folder / POINTS, _POINT_COLUMNS) if wanted else []:
        if line["image"] in cells:
            where = f"Line {number} of {folder / POINTS}"
            score = _number(line["score"], where) if line["score"] else math.nan
            place = (_number(line["x_px"], where), _number(line["y_px"], where))
            cells[line["image"]].append((*place, score))
    pictures = tuple(
        _picture(line, cells[line["image"]], f"Line {number} of {folder / COUNTS}")
        for number, line in lines
    )
    um_per_px, method = _method(folder / METHOD)
    return CountedFolder(folder, pictures, um_per_px, method)


def _picture(
    line: dict[str, str], cells: list[tuple[float, float, float]], where: str
) -> CountedPicture:
    size = tuple(int(_number(line[key], where)) for key in ("width_px", "height_px"))
    if not all(0 < side <= _LARGEST_SIDE_PX for side in size):
        raise UserError(f"{where} gives a picture of {size[0]}x{size[1]} px; count it again.")
    table = np.array(cells, dtype=np.float64).reshape(-1, 3)
    has_places = bool(line["points"])
    if has_places and len(table) != _number(line["points"], where):
        raise UserError(
            f"{where} counts {line['points'][:20]} places and {POINTS} has {len(table)}; the same "
            "`cellbench count` mends it."
        )
    return CountedPicture(
        name=line["image"],
        count=_number(line["count"], where),
        size=(size[0], size[1]),
        points=table[:, :2] if has_places else None,
        scores=table[:, 2].astype(np.float32) if has_places else np.zeros(0, np.float32),
        sha256=line["sha256"],
    )


def _table(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """The lines of a table with their numbers; columns that are not wanted are left out.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    try:
        text = read_file(path, most=FILE.size).decode("utf-8")
        rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
        head = next(rows, [])
        missing = [column for column in columns if column not in head]
        if missing:
            raise UserError(
                f"{path} has no column {missing[0]!r}; name a folder that `cellbench count` wrote."
            )
        places = {column: head.index(column) for column in columns}
        return [
            (rows.line_num, {column: row[place] for column, place in places.items()})
            for row in rows
            if len(row) == len(head)
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{path} cannot be read ({reason}); name a folder that `cellbench count` wrote."
        ) from error


def _method(path: Path) -> tuple[float | None, str]:
    """Size of a pixel and name of the method, where the folder has them."""
    try:
        document: Any = read_json(path)
    except (OSError, ValueError):
        return None, ""
    facts = document if isinstance(document, dict) else {}
    um, name = facts.get("um_per_px"), facts.get("method")
    size = float(um) if isinstance(um, int | float) and um > 0 else None
    return size, name if isinstance(name, str) else ""


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not text.isascii() or not math.isfinite(value):
        raise UserError(f"{where} holds {text[:40]!r} where a number is wanted; count it again.")
    return value
