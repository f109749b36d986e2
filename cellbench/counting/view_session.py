"""State of a viewer of a counted folder, independent of HTTP."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from cellbench.counting.annotator_agreement import agreement, open_logs
from cellbench.counting.corrected_set import moved_file
from cellbench.counting.corrected_tables import table_name, write_corrected_tables
from cellbench.counting.corrections import (
    CorrectedPicture,
    CorrectionLog,
    annotators_of,
    apply_changes,
)
from cellbench.counting.counted_folder import CountedFolder, CountedPicture, read_counted
from cellbench.counting.picture_tiles import PictureTiles
from cellbench.counting.regions_file import (
    REGIONS,
    Region,
    read_regions,
    regions_of,
    with_changes,
    write_regions,
)
from cellbench.counting.sent_changes import changes_of
from cellbench.errors import UserError
from cellbench.files.locks import locked
from cellbench.ranking.tables import plain

_OPEN_PICTURES = 2


class ViewSession:
    """Pictures of a counted folder, with the corrections of one annotator.

    Every change is on disk when its method returns. Methods are thread-safe.

    Attributes:
        unwritten: why the tables of `write_tables` are out of date; empty if they are not.
    """

    def __init__(
        self,
        counted: CountedFolder,
        *,
        annotator: str = "",
        pictures: Path | None = None,
        ordered_by: str = "",
        table: CountedFolder | None = None,
    ) -> None:
        """Open the corrections of an annotator.

        Args:
            counted: the tables, with the pictures in the order shown.
            annotator: name of the annotator; "" for corrected.csv.
            pictures: folder of the pictures, if they were moved since they were counted.
            ordered_by: criterion of the order, largest first; "" for the order of the table.
            table: the tables in the order of `counts.csv`, if `counted` has another order.

        Raises:
            UserError: a file of the folder is damaged.
        """
        self.counted = counted
        self.annotator = annotator
        self.ordered_by = ordered_by
        self._folder = pictures
        self._rows = (table or counted).pictures
        self._log = CorrectionLog.open(counted.folder, annotator, counted.hashes)
        self._regions: dict[str, list[Region]] = {}
        self._regions_stamp: tuple[int, int] | None = None
        # Caches by picture, each entry with its key: the changes, and the regions too.
        self._known_counts: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._measurements: dict[str, tuple[Any, list[dict[str, Any]]]] = {}
        self.unwritten = ""
        self._read_regions()
        self._lock = threading.RLock()
        self._tiles: OrderedDict[int, PictureTiles] = OrderedDict()

    def overview(self) -> dict[str, Any]:
        """Return all pictures with their counts, the totals, and the method's error.

        MAE and bias (method minus annotator) are of the checked pictures; None if none is checked.
        """
        with self._lock:
            pictures = [self._counts(picture) for picture in self.counted.pictures]
        seen = [each for each in pictures if each["checked"]]
        errors = [each["method"] - each["corrected"] for each in seen]
        has_table = self._log.file.exists() and not self.unwritten
        return {
            "method": plain(self.counted.method),
            "annotator": self.annotator,
            "ordered_by": self.ordered_by,
            "table": table_name("counts", self.annotator) if has_table else "",
            "dense": any(picture.um_per_px is not None for picture in self.counted.pictures),
            "pictures": pictures,
            "total_method": sum(each["method"] for each in pictures),
            "total_corrected": sum(each["corrected"] for each in pictures),
            "seen": len(seen),
            "mae": float(np.abs(errors).mean()) if errors else None,
            "bias": float(np.mean(errors)) if errors else None,
            "unwritten": self.unwritten,
        }

    @property
    def outdated(self) -> int:
        """Number of pictures whose files have changed since they were corrected."""
        return sum(
            bool(self._log.changes.get(name)) and not self._log.of(name, sha256)
            for name, sha256 in self.counted.hashes
        )

    def picture(self, index: int) -> dict[str, Any]:
        """Return one picture: its size, cells, counts and regions.

        Raises:
            UserError: there is no such picture.
        """
        picture = self._picture(index)
        with self._lock:
            self._read_regions()
            done = self._done(picture)
            scores = np.where(np.isfinite(picture.scores), picture.scores, -1)
            return {
                "index": index,
                "size": picture.size,
                "scored": picture.scored,
                "has_places": picture.points is not None,
                "points": picture.places.tolist(),
                "scores": np.round(scores.astype(np.float64), 4).tolist(),
                "kept": done.kept.astype(int).tolist(),
                "added": done.added.tolist(),
                "counts": self._counts(picture),
                "regions": self._measured_regions(picture),
                "undo": bool(self._log.of(picture.name, picture.sha256)),
            }

    def change(self, index: int, changes: Any) -> None:
        """Add cells, remove cells, or mark the picture as checked, as one action.

        Args:
            index: index of the picture.
            changes: list of [kind, x, y].

        Raises:
            UserError: they are invalid, or cannot be written.
        """
        picture = self._picture(index)
        with self._lock:
            self._log.add(picture.name, changes_of(changes, picture.size), picture.sha256)
            self.write_tables()

    def undo(self, index: int) -> None:
        """Undo the last action on a picture.

        Raises:
            UserError: the disk is not writable.
        """
        picture = self._picture(index)
        with self._lock:
            self._log.undo(picture.name, picture.sha256)
            self.write_tables()

    def write_tables(self) -> None:
        """Write the tables of corrected counts and regions, if there are corrections or regions.

        Changes are on disk already, and are kept if the tables cannot be written (the disk is full,
        a spreadsheet has locked them); `unwritten` then holds the reason.
        """
        with self._lock:
            try:
                self._write_tables()
                self.unwritten = ""
            except UserError as error:
                self.unwritten = f"Your changes are kept. {error}"

    def _write_tables(self) -> None:
        self._read_regions()
        if not self._log.file.exists() and not self._regions:
            return
        counts = [(picture, self._counts(picture)) for picture in self._rows]
        regions = [
            (picture, region)
            for picture in self._rows
            if picture.name in self._regions
            for region in self._measured_regions(picture)
        ]
        write_corrected_tables(self.counted.folder, self.annotator, counts, regions)

    def change_regions(self, index: int, change: Any) -> None:
        """Add and remove regions of a picture; those added by other viewers meanwhile are kept.

        Args:
            index: index of the picture.
            change: lists of regions, `added` and `removed`. A number is appended to a new name that
                is in use.

        Raises:
            UserError: they are invalid, or cannot be written.
        """
        picture = self._picture(index)
        if not isinstance(change, dict) or not change.keys() <= {"added", "removed"}:
            raise UserError("A change of regions has lists called added and removed.")
        folder = self.counted.folder
        # Other viewers of the same folder write to the same file.
        with self._lock, locked(folder / f".{REGIONS}.lock", wait=True):
            known = read_regions(folder)
            try:
                added, removed = (regions_of(change.get(key, [])) for key in ("added", "removed"))
                new = with_changes(known.get(picture.name, ()), added, removed)
            except ValueError as error:
                raise UserError(f"These are no regions: {error}.") from None
            write_regions(folder, {**known, picture.name: new})
            self.write_tables()

    def agreement(self) -> dict[str, Any]:
        """Return the agreement of the method and all annotators of the folder."""
        with self._lock:
            logs = open_logs(self.counted)
        found = agreement(self.counted, logs)
        return {
            "counters": found.counters,
            "rows": [(plain(name), row) for name, row in found.counts.items()],
            "pairs": [
                (p.first, p.second, p.pictures, p.mae, p.bias, p.low, p.high) for p in found.pairs
            ],
        }

    def tile(self, index: int, level: int, column: int, row: int) -> bytes:
        """Return a tile of a picture, see `PictureTiles.tile`.

        Raises:
            UserError: there is no such tile, or the picture cannot be read.
        """
        picture = self._picture(index)
        with self._lock:
            if index not in self._tiles:
                path = moved_file(picture, self._folder)
                self._tiles[index] = PictureTiles(
                    path, sha256=picture.sha256, reading=self.counted.reading
                )
                while len(self._tiles) > _OPEN_PICTURES:
                    self._tiles.popitem(last=False)
            self._tiles.move_to_end(index)
            return self._tiles[index].tile(level, column, row)

    def _picture(self, index: int) -> CountedPicture:
        if not 0 <= index < len(self.counted.pictures):
            raise UserError(f"There is no picture {index}.")
        return self.counted.pictures[index]

    def _done(self, picture: CountedPicture) -> CorrectedPicture:
        return apply_changes(picture.places, self._log.of(picture.name, picture.sha256))

    def _counts(self, picture: CountedPicture) -> dict[str, Any]:
        """Return the counts of the method and the annotator; the same for an unchecked picture.

        They are cached by the picture's changes, since tables and page need all pictures after
        every change.
        """
        changes = self._log.of(picture.name, picture.sha256)
        known = self._known_counts.get(picture.name)
        if known is not None and known[0] == changes:
            return known[1]
        done = self._done(picture)
        corrected = picture.corrected_count(done)
        area_px = picture.size[0] * picture.size[1]
        counts = {
            "name": plain(picture.name),
            "method": picture.count,
            "corrected": corrected,
            "checked": done.checked,
            "method_per_mm2": _density(picture, picture.count, area_px),
            "corrected_per_mm2": _density(picture, corrected, area_px),
        }
        self._known_counts[picture.name] = (changes, counts)
        return counts

    def _measured_regions(self, picture: CountedPicture) -> list[dict[str, Any]]:
        """Return the regions of a picture with their cells, areas and densities.

        The cells are None for a method without points, until some are added.

        They are cached by regions and changes: outlines drawn by hand have hundreds of corners, and
        the tables need the regions of all pictures after every change.
        """
        regions = self._regions.get(picture.name, [])
        key = (regions, self._log.of(picture.name, picture.sha256))
        known = self._measurements.get(picture.name)
        if known is not None and known[0] == key:
            return known[1]
        done, placed = self._done(picture), picture.points is not None
        cells = np.concatenate([picture.places[done.kept], done.added])
        found = []
        for region in regions:
            inside = int(region.holds(cells).sum()) if placed or len(done.added) else None
            method = int(region.holds(picture.places).sum()) if placed else None
            found.append(
                {
                    "name": plain(region.name),
                    "corners": region.corners,
                    "cells": inside,
                    "method": method,
                    "area_px": region.area_px,
                    "per_mm2": _density(picture, inside, region.area_px),
                }
            )
        self._measurements[picture.name] = (key, found)
        return found

    def _read_regions(self) -> None:
        """Read the regions again if the file has changed, since other viewers write to it."""
        try:
            found = (self.counted.folder / REGIONS).stat()
            stamp = (found.st_mtime_ns, found.st_size)
        except OSError:
            stamp = None
        if stamp is None or stamp != self._regions_stamp:
            self._regions = read_regions(self.counted.folder)
            self._regions_stamp = stamp


def refresh_corrected_tables(folder: Path) -> list[str]:
    """Write the corrected tables of every annotator of a folder, after its counts have changed.

    Returns:
        One sentence per table that could not be written.
    """
    names = annotators_of(folder) or ([""] if (folder / REGIONS).exists() else [])
    counted, unwritten = None, []
    for name in names:
        try:
            counted = counted or read_counted(folder)
            session = ViewSession(counted, annotator=name)
        except UserError as error:
            unwritten.append(f"The corrected tables are out of date. {error}")
            continue
        session.write_tables()
        unwritten += filter(None, [session.unwritten])
    return unwritten


def _density(picture: CountedPicture, cells: float | None, area_px: float) -> float | None:
    """Return cells per square millimetre; None if they, the pixel size or an area are missing."""
    um = picture.um_per_px
    return None if cells is None or um is None or not area_px else cells / (area_px * um**2) * 1e6
