"""Reader of the tables of a counted folder, for the viewer and for corrections."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.counting.corrections import CorrectedPicture
from cellbench.counting.count_rows import POINT_HEAD
from cellbench.counting.count_tables import COUNTS, METHOD, POINTS
from cellbench.data.planes import PlaneChoice
from cellbench.data.reader import DEFAULT_READ_OPTIONS, ReadOptions
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import read_file, read_json

_COUNT_COLUMNS = ("image", "count", "width_px", "height_px", "points", "sha256")
_OPTIONAL = ("um_per_px", "low90", "high90")
_LARGEST_SIDE_PX = 2**26


@dataclass(frozen=True)
class CountedPicture:
    """Row of `counts.csv` with its points.

    Attributes:
        name: name in the tables.
        count: cells by the method.
        size: (width, height), px.
        points: (N, 2) float64, (x, y) px, rounded as in the table; None for a method without
            points.
        scores: (N,), NaN for a cell without a score; (0,) for a method without points.
        sha256: hash of the picture's file when it was counted.
        um_per_px: edge of a pixel, micrometres; None if unknown.
        interval: lower and upper end of the count's 90 % interval; None if it has none.
    """

    name: str
    count: float
    size: tuple[int, int]
    points: NDArray[np.float64] | None
    scores: NDArray[np.float32]
    sha256: str
    um_per_px: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def places(self) -> NDArray[np.float64]:
        """The points; (0, 2) for a method without points."""
        return np.zeros((0, 2)) if self.points is None else self.points

    def corrected_count(self, done: CorrectedPicture) -> float:
        """Return the count after corrections; the method's count if the picture is unchecked.

        For a method without points, its count stays until cells are added.
        """
        use_corrected = done.checked and (self.points is not None or len(done.added))
        return float(done.count) if use_corrected else self.count

    @property
    def scored(self) -> bool:
        """Whether there are points, and all have scores."""
        return bool(len(self.scores)) and bool(np.isfinite(self.scores).all())


@dataclass(frozen=True)
class CountedFolder:
    """Tables that `cellbench count` wrote.

    Attributes:
        folder: folder of the tables.
        pictures: in the order of the table.
        method: name of the method; empty if unknown.
        reading: how the pictures were read.
        run_id: id of the run that counted; empty if unknown.
        scale: resampling factor of the count, see `CountRequest`.
    """

    folder: Path
    pictures: tuple[CountedPicture, ...]
    method: str = ""
    reading: ReadOptions = DEFAULT_READ_OPTIONS
    run_id: str = ""
    scale: float = 1.0

    @property
    def hashes(self) -> list[tuple[str, str]]:
        """Name and SHA-256 of each picture."""
        return [(picture.name, picture.sha256) for picture in self.pictures]


def read_counted(folder: Path) -> CountedFolder:
    """Read the tables of a counted folder.

    Raises:
        UserError: the folder holds no counts, or a row of its tables is invalid.
    """
    lines = _table(folder / COUNTS, _COUNT_COLUMNS)
    if not lines:
        raise UserError(f"{folder / COUNTS} lists no picture; `cellbench count` fills it.")
    cells: dict[str, list[tuple[float, float, float]]] = {line["image"]: [] for _, line in lines}
    if len(cells) < len(lines):
        raise UserError(f"{folder / COUNTS} lists a picture twice; count it again.")
    wanted = any(line["points"] for _, line in lines)
    for number, line in _table(folder / POINTS, POINT_HEAD) if wanted else []:
        if line["image"] in cells:
            where = f"Line {number} of {folder / POINTS}"
            score = _number(line["score"], where) if line["score"] else math.nan
            place = (_number(line["x_px"], where), _number(line["y_px"], where))
            cells[line["image"]].append((*place, score))
    facts = _facts(folder / METHOD)
    um = facts.get("um_per_px")
    usual = float(um) if isinstance(um, int | float) and um > 0 else None
    pictures = tuple(
        _picture(line, cells[line["image"]], f"Line {number} of {folder / COUNTS}", usual)
        for number, line in lines
    )
    name = facts.get("method")
    reading = _reading(facts.get("reading"), folder / METHOD)
    run_id, scale = facts.get("run_id"), facts.get("scale")
    return CountedFolder(
        folder,
        pictures,
        method=name if isinstance(name, str) else "",
        reading=reading,
        run_id=run_id if isinstance(run_id, str) else "",
        scale=float(scale) if isinstance(scale, int | float) and scale > 0 else 1.0,
    )


def _picture(
    line: dict[str, str],
    cells: list[tuple[float, float, float]],
    where: str,
    um_per_px: float | None,
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
    low, high = line.get("low90"), line.get("high90")
    return CountedPicture(
        name=line["image"],
        count=_number(line["count"], where),
        size=(size[0], size[1]),
        points=table[:, :2] if has_places else None,
        scores=table[:, 2].astype(np.float32) if has_places else np.zeros(0, np.float32),
        sha256=line["sha256"],
        um_per_px=_number(line["um_per_px"], where) if line.get("um_per_px") else um_per_px,
        interval=(_number(low, where), _number(high, where)) if low and high else None,
    )


def _table(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a table with their line numbers; other columns are left out.

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
        known = [*columns, *(column for column in _OPTIONAL if column in head)]
        places = {column: head.index(column) for column in known}
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


def _facts(path: Path) -> dict[str, Any]:
    """Read `method.json`; empty if it is missing or invalid."""
    try:
        document: Any = read_json(path)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _reading(stated: Any, path: Path) -> ReadOptions:
    """Parse the read options of `method.json`; the defaults if it has none.

    Raises:
        UserError: they are invalid.
    """
    if not isinstance(stated, dict):
        return DEFAULT_READ_OPTIONS
    try:
        planes = PlaneChoice(**(stated.get("planes") or {}))
        span = stated.get("range")
        limits = None if span is None else (float(span[0]), float(span[1]))
        return ReadOptions(planes, limits, stated.get("invert") is True)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise UserError(f"{path} does not state how pictures were read ({error}).") from error


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not text.isascii() or not math.isfinite(value):
        raise UserError(f"{where} holds {text[:40]!r} where a number is wanted; count it again.")
    return value
