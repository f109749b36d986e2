"""Tables of counts: `counts.csv` with a line a picture, `points.csv` with a line a cell.

`method.json` names the method and its settings. A picture's cells are written before its line, so
that a picture with a line is complete, and a killed count goes on where it was.
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
        if text_of(file) != wanted and (file.exists() or (folder / COUNTS).exists()):
            _check_nothing_counted(folder, json.loads(wanted))
        write_atomically(file, wanted.encode("utf-8"))
        _check_columns(folder / COUNTS)
        self.done = read_counts(folder / COUNTS)
        # What a kill tore, or wrote without coming to the picture's line, is left out.
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
        """Write a picture's cells, then its line.

        Returns:
            The cells as the tables have them, rounded: what is drawn or exported now is the same
            as what is drawn or exported from the tables later.

        Raises:
            UserError: the disk is full or not writable; the pictures before stay.
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
        rows = read_points(self.folder / POINTS, kept) if kept else {}
        return {name: prediction_of(kept[name].count, rows.get(name, [])) for name in kept}


def _check_columns(path: Path) -> None:
    """Refuse a table that somebody has changed, which would be written over.

    Raises:
        UserError: its columns are not those that are written here, or it is no text.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    first, whole, _ = text_of(path).partition("\n")
    head = next(csv.reader([first]), [])
    if not whole and b"\n" not in read_file(path, most=FILE.size):
        return  # torn within its head: nothing was counted yet
    if set(head) <= set(COUNT_HEAD) and set(head) >= set(COUNT_HEAD) - set(NEWER):
        return
    raise UserError(
        f"{path} is not as cellbench wrote it (it has other columns or another encoding) and would "
        "be written over; move it away, or name another folder with --out."
    )


def _check_nothing_counted(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse tables of other settings, unless no picture has been counted into them.

    Raises:
        UserError: there is a count, or a file that `cellbench count` did not write.
    """
    known, path = known_settings(text_of(folder / METHOD)), folder / COUNTS
    if known == wanted:  # 2 and 2.0
        return
    text = text_of(path)
    begun = text[: text.rfind("\n") + 1] == csv_lines([COUNT_HEAD]).decode("utf-8")
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
