"""Tables of counts: `counts.csv` with one row per picture, `points.csv` with one row per cell.

`method.json` records the method and its settings. A picture's points are written before its row in
`counts.csv`, so that a picture with a row is complete and an interrupted count can be resumed.
"""

import csv
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellbench.counting.count_rows import (
    COUNT_HEAD,
    NEWER,
    POINT_HEAD,
    Counted,
    count_row,
    csv_lines,
    point_lines,
    prediction_of,
    read_counts,
    read_points,
    text_of,
)
from cellbench.counting.moved_pictures import moved_names
from cellbench.counting.table_settings import differing_settings, known_settings
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import read_file
from cellbench.files.writing import write_atomically
from cellbench.ranking.tables import csv_cell
from cellbench.structures import Prediction

COUNTS, POINTS, METHOD, SKIPPED = "counts.csv", "points.csv", "method.json", "skipped.csv"


class CountTables:
    """Tables of a folder; pictures counted before with the same settings are kept.

    Attributes:
        folder: folder of the tables.
        done: the pictures in the tables, by name.
    """

    def __init__(self, folder: Path, method: Mapping[str, Any], hashes: Mapping[str, str]) -> None:
        """Open the tables, or create them.

        Args:
            folder: created if missing.
            method: method and settings; serialisable as JSON.
            hashes: SHA-256 of the given pictures, by name; counts of a picture whose file has
                changed are dropped.

        Raises:
            UserError: the folder has counts of other settings, or cannot be written.
        """
        self.folder = folder
        wanted = json.dumps(method, indent=2, sort_keys=True) + "\n"
        file = folder / METHOD
        if text_of(file) != wanted and (file.exists() or (folder / COUNTS).exists()):
            _check_nothing_counted(folder, json.loads(wanted))
        write_atomically(file, wanted.encode("utf-8"))
        _check_columns(folder / COUNTS)
        self.done = read_counts(folder / COUNTS)
        # An interrupted count leaves partial rows, and points of pictures without a row.
        points = read_points(folder / POINTS, self.done)
        gone = [(name, one.sha256) for name, one in self.done.items() if name not in hashes]
        fresh = [(name, sha256) for name, sha256 in hashes.items() if name not in self.done]
        moved = moved_names(gone, fresh, stayed=lambda name: Path(name).exists())
        for (old, _), new in moved.items():
            self.done[new] = replace(self.done.pop(old), image=new)
            points[new] = [[new, *row[1:]] for row in points.pop(old, ())]
        self.done = {
            name: counted
            for name, counted in self.done.items()
            if hashes.get(name, counted.sha256) == counted.sha256
            and (counted.points is None or len(points.get(name, ())) == counted.points)
        }
        whole = [row for name in self.done for row in points.get(name, ())]
        write_atomically(folder / POINTS, csv_lines([POINT_HEAD, *whole]))
        write_atomically(
            folder / COUNTS, csv_lines([COUNT_HEAD, *map(count_row, self.done.values())])
        )

    def add(self, counted: Counted, found: Prediction) -> Prediction:
        """Write a picture's points, then its row.

        Returns:
            The points rounded as in the tables, so that exports are the same now and when they are
            made from the tables later.

        Raises:
            UserError: the disk is full or not writable; earlier pictures are kept.
        """
        cells, kept = point_lines(counted.image, found)
        for name, lines in ((POINTS, cells), (COUNTS, csv_lines([count_row(counted)]))):
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
        """Write `skipped.csv`: files that were not counted, with the reasons; no file if none.

        Raises:
            UserError: it cannot be written.
        """
        rows = [(str(csv_cell(name)), str(csv_cell(reason))) for name, reason in skipped]
        path = self.folder / SKIPPED
        if rows or path.exists():
            write_atomically(path, csv_lines([("image", "reason"), *rows]), elsewhere="--out")

    def found(self, names: Collection[str]) -> dict[str, Prediction]:
        """Read the points of pictures, rounded to 1e-4 px; those without points are left out."""
        kept = {name: self.done[name] for name in names if self.done[name].points is not None}
        rows = read_points(self.folder / POINTS, kept) if kept else {}
        return {name: prediction_of(kept[name].count, rows.get(name, [])) for name in kept}


def _check_columns(path: Path) -> None:
    """Check that an existing table has the expected columns, since it will be overwritten.

    Raises:
        UserError: it has other columns, or is not UTF-8.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    first, whole, _ = text_of(path).partition("\n")
    head = next(csv.reader([first]), [])
    if not whole and b"\n" not in read_file(path, most=FILE.size):
        return  # interrupted within the header: nothing was counted yet
    if set(head) <= set(COUNT_HEAD) and set(head) >= set(COUNT_HEAD) - set(NEWER):
        return
    raise UserError(
        f"{path} is not as cellbench wrote it (it has other columns or another encoding) and would "
        "be written over; move it away, or name another folder with --out."
    )


def _check_nothing_counted(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Check that tables of other settings hold no picture yet.

    Raises:
        UserError: they hold one, or a file was not written by `cellbench count`.
    """
    known, path = known_settings(text_of(folder / METHOD)), folder / COUNTS
    if known == wanted:  # texts may differ for equal numbers, such as 2 and 2.0
        return
    text = text_of(path)
    head_only = text[: text.rfind("\n") + 1] == csv_lines([COUNT_HEAD]).decode("utf-8")
    empty = head_only if path.exists() else bool(known)
    if empty and (known or not (folder / METHOD).exists()):
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
