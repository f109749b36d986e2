"""Tables of counts: `counts.csv` with a line a picture, `points.csv` with a line a cell.

`method.json` names the method and its settings. A picture's cells are written before its line, so
that a picture with a line is complete, and a killed count goes on where it was.
"""

import csv
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellbench.counting.table_settings import differing_settings, known_settings
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import read_file
from cellbench.files.writing import write_atomically
from cellbench.ranking.tables import csv_cell
from cellbench.structures import Prediction

COUNTS, POINTS, METHOD, SKIPPED = "counts.csv", "points.csv", "method.json", "skipped.csv"

_COUNT_HEAD = (
    "image", "count", "low90", "high90", "per_mm2", "width_px", "height_px", "points", "sha256",
    "black", "white", "um_per_px", "notes",
)  # fmt: skip
_POINT_HEAD = ("image", "x_px", "y_px", "score")


@dataclass(frozen=True, slots=True)
class Counted:
    """A picture that has been counted.

    Attributes:
        image: its name in the tables, see `shown_name`.
        count: cells, not rounded.
        per_mm2: cells a square millimetre; None where the size of a pixel is not known.
        size: (width, height), px.
        points: how many cells `points.csv` has of it; None for a method without points.
        sha256: of its file.
        range: the numbers of the file that became black and white.
        um_per_px: edge of a pixel, micrometres; None where it is not known.
        notes: what was decided when it was read, in words.
        interval: lower and upper end of what holds the true count in 90 % of pictures like those
            that the method was tested on; None where its record has too few of them.
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
    """Name a picture in the tables: its path, safe in a spreadsheet and in any encoding."""
    text = str(csv_cell(str(path)))
    return text.encode("utf-8", "replace").decode("utf-8")


class CountTables:
    """The tables of a folder; pictures counted before with the same method are kept.

    Attributes:
        folder: of the tables.
        done: the pictures in them, by name.
    """

    def __init__(self, folder: Path, method: Mapping[str, Any], hashes: Mapping[str, str]) -> None:
        """Open the tables, or begin them.

        Args:
            folder: made if it is not there.
            method: what counts, and with which settings; JSON-able.
            hashes: SHA-256 of the pictures that are at hand, by name; the counts of a picture
                that has become another one are dropped.

        Raises:
            UserError: the folder has counts of something else, or cannot be written.
        """
        self.folder = folder
        wanted = json.dumps(method, indent=2, sort_keys=True) + "\n"
        file = folder / METHOD
        if _text(file) != wanted and (file.exists() or (folder / COUNTS).exists()):
            _check_nothing_counted(folder, json.loads(wanted))
        write_atomically(file, wanted.encode("utf-8"))
        self.done = _read_counts(folder / COUNTS)
        # What a kill tore, or wrote without coming to the picture's line, is left out.
        points = _read_points(folder / POINTS, self.done)
        self.done = {
            name: counted
            for name, counted in self.done.items()
            if hashes.get(name, counted.sha256) == counted.sha256
            and (counted.points is None or len(points.get(name, ())) == counted.points)
        }
        whole = [row for name in self.done for row in points.get(name, ())]
        write_atomically(folder / POINTS, csv_lines([_POINT_HEAD, *whole]))
        write_atomically(
            folder / COUNTS, csv_lines([_COUNT_HEAD, *map(_count_row, self.done.values())])
        )

    def add(self, counted: Counted, found: Prediction) -> Prediction:
        """Write a picture's cells, then its line.

        Returns:
            The cells as the tables have them, rounded: what is drawn or exported now is the same
            as what is drawn or exported from the tables later.

        Raises:
            UserError: the disk is full or not writable; the pictures before stay.
        """
        cells, kept = _point_lines(counted.image, found)
        for name, lines in ((POINTS, cells), (COUNTS, csv_lines([_count_row(counted)]))):
            path = self.folder / name
            try:
                with path.open("ab") as stream:
                    stream.write(lines)
            except OSError as error:
                raise UserError(
                    f"{path} could not be written ({(error.strerror or str(error)).lower()}); "
                    "make room, and the same command goes on."
                ) from error
        self.done[counted.image] = counted
        return kept

    def write_skipped(self, skipped: Sequence[tuple[str, str]]) -> None:
        """Write the files that were not counted, each with the reason; no file if there is none.

        Raises:
            UserError: it cannot be written.
        """
        rows = [(str(csv_cell(name)), str(csv_cell(reason))) for name, reason in skipped]
        path = self.folder / SKIPPED
        if rows or path.exists():
            write_atomically(path, csv_lines([("image", "reason"), *rows]), elsewhere="--out")

    def found(self, names: Collection[str]) -> dict[str, Prediction]:
        """The cells of those pictures that have points, to 1e-4 px."""
        kept = {name: self.done[name] for name in names if self.done[name].points is not None}
        rows = _read_points(self.folder / POINTS, kept) if kept else {}
        return {name: _prediction(kept[name].count, rows.get(name, [])) for name in kept}


def _check_nothing_counted(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse tables of other settings, unless no picture has been counted into them.

    Raises:
        UserError: there is a count, or a file that `cellbench count` did not write.
    """
    known, path = known_settings(_text(folder / METHOD)), folder / COUNTS
    if known == wanted:  # 2 and 2.0
        return
    text = _text(path)
    begun = text[: text.rfind("\n") + 1] == csv_lines([_COUNT_HEAD]).decode("utf-8")
    nothing = begun if path.exists() else bool(known)
    if nothing and (known or not (folder / METHOD).exists()):
        return
    if not known or not text:
        foreign = METHOD if (folder / METHOD).exists() and not known else COUNTS
        raise UserError(
            f"{folder} holds a {foreign} that this cellbench did not write; name another folder "
            "with --out."
        )
    different = differing_settings(known, wanted) or [
        "thresholds, correction or the rule by which pictures are read have changed"
    ]
    raise UserError(
        f"{folder} holds counts of other settings: {'; '.join(different)}; give the same settings "
        "again, or name another folder with --out."
    )


def _point_lines(image: str, found: Prediction) -> tuple[bytes, Prediction]:
    """The lines of a picture's cells, and the cells as these lines have them.

    Of a million cells a line of Python a cell takes seconds, so that there is one and no more.
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


def _count_row(counted: Counted) -> tuple[Any, ...]:
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
    """Rows as the lines of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


def _text(path: Path) -> str:
    """Read a text file; empty where there is none, or it is no text."""
    try:
        return read_file(path, most=FILE.size).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _read(path: Path, head: Sequence[str]) -> list[list[str]]:
    """Read the complete lines of a table; none where there is no such table."""
    text = _text(path)
    whole = text[: text.rfind("\n") + 1]  # a line without its end was torn
    with suppress(csv.Error):
        rows = list(csv.reader(io.StringIO(whole)))
        if rows and rows[0] == list(head):
            return [row for row in rows[1:] if len(row) == len(head)]
    return []


def _read_counts(path: Path) -> dict[str, Counted]:
    found = {}
    for row in _read(path, _COUNT_HEAD):
        (
            image,
            count,
            low,
            high,
            per_mm2,
            width,
            height,
            points,
            sha256,
            black,
            white,
            um_per_px,
            notes,
        ) = row
        with suppress(ValueError):
            found[image] = Counted(
                image=image,
                count=_number(count),
                interval=(_number(low), _number(high)) if low and high else None,
                per_mm2=_number(per_mm2) if per_mm2 else None,
                size=(_whole(width), _whole(height)),
                points=_whole(points) if points else None,
                sha256=sha256,
                range=(_number(black), _number(white)),
                um_per_px=_number(um_per_px) if um_per_px else None,
                notes=notes,
            )
    return found


def _number(text: str) -> float:
    """A finite number in ASCII.

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


def _prediction(count: float, rows: Sequence[Sequence[str]]) -> Prediction:
    numbers = np.array([value for row in rows for value in row[1:] if value], dtype=np.float64)
    table = numbers.astype(np.float32).reshape(len(rows), -1 if rows else 2)
    return Prediction(count, table[:, :2], table[:, 2] if table.shape[1] > 2 else None)


def _read_points(path: Path, known: Mapping[str, Counted]) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    for row in _read(path, _POINT_HEAD):
        if row[0] in known:
            found.setdefault(row[0], []).append(row)
    return {name: rows if _all_numbers(rows) else _of_numbers(rows) for name, rows in found.items()}


def _all_numbers(rows: Sequence[Sequence[str]]) -> bool:
    """Whether every place is of finite numbers in ASCII, and the score too where there is one."""
    values = [value for row in rows for value in row[1:] if value]
    try:
        return "".join(values).isascii() and bool(np.isfinite(np.array(values, np.float64)).all())
    except ValueError:
        return False


def _of_numbers(rows: Sequence[list[str]]) -> list[list[str]]:
    """The lines that nobody changed; without the others the picture is not whole."""
    kept = []
    for row in rows:
        with suppress(ValueError):
            [_number(value) for value in row[1:] if value]
            kept.append(row)
    return kept
