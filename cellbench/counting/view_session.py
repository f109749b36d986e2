"""What a viewer of a counted folder shows and changes, without the web."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from cellbench.counting.annotator_agreement import agreement, open_logs
from cellbench.counting.corrected_set import moved_file
from cellbench.counting.corrected_tables import table_name, write_corrected_tables
from cellbench.counting.corrections import CorrectedPicture, CorrectionLog, apply_changes
from cellbench.counting.counted_folder import CountedFolder, CountedPicture
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
    """The pictures of a counted folder, and what one person changes in them.

    Every change is on disk when its method returns. Methods may be called by several threads.

    Attributes:
        unwritten: why the tables of `write_tables` do not follow the changes; empty where they do.
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
        """Open the corrections of a person.

        Args:
            counted: the tables.
            annotator: name of the person's file; "" for corrected.csv.
            pictures: folder that holds the pictures, where they are not where they were counted.
            ordered_by: what the pictures are ordered by, the largest first; "" for the table.
            table: the pictures in the order of `counts.csv`, where they are ordered by something.

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
        # By picture, each with what it holds for: changes, and regions too.
        self._known_counts: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._measurements: dict[str, tuple[Any, list[dict[str, Any]]]] = {}
        self.unwritten = ""
        self._read_regions()
        self._lock = threading.RLock()
        self._tiles: OrderedDict[int, PictureTiles] = OrderedDict()

    def overview(self) -> dict[str, Any]:
        """All pictures with their counts, totals, and the difference between method and person."""
        with self._lock:
            pictures = [self._counts(picture) for picture in self.counted.pictures]
        seen = [each for each in pictures if each["checked"]]
        off = [each["method"] - each["corrected"] for each in seen]
        kept = self._log.file.exists() and not self.unwritten
        return {
            "method": plain(self.counted.method),
            "annotator": self.annotator,
            "ordered_by": self.ordered_by,
            "table": table_name("counts", self.annotator) if kept else "",
            "dense": any(picture.um_per_px is not None for picture in self.counted.pictures),
            "pictures": pictures,
            "total_method": sum(each["method"] for each in pictures),
            "total_corrected": sum(each["corrected"] for each in pictures),
            "seen": len(seen),
            "mae": float(np.abs(off).mean()) if off else None,
            "bias": float(np.mean(off)) if off else None,
            "unwritten": self.unwritten,
        }

    @property
    def outdated(self) -> int:
        """How many pictures have changed since the person corrected them."""
        return sum(
            bool(self._log.changes.get(name)) and not self._log.of(name, sha256)
            for name, sha256 in self.counted.hashes
        )

    def picture(self, index: int) -> dict[str, Any]:
        """One picture: its size, its cells, its regions.

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
                "regions": self._measured(picture),
                "undo": bool(self._log.of(picture.name, picture.sha256)),
            }

    def change(self, index: int, changes: Any) -> None:
        """Add cells, take cells away, or mark the picture as checked, as one action.

        Args:
            index: of the picture.
            changes: [kind, x, y] of each.

        Raises:
            UserError: they are no changes, or cannot be written.
        """
        picture = self._picture(index)
        with self._lock:
            self._log.add(picture.name, changes_of(changes, picture.size), picture.sha256)
            self.write_tables()

    def undo(self, index: int) -> None:
        """Take back the last action on a picture.

        Raises:
            UserError: the disk cannot be written.
        """
        picture = self._picture(index)
        with self._lock:
            self._log.undo(picture.name, picture.sha256)
            self.write_tables()

    def write_tables(self) -> None:
        """Write the corrected counts and the regions as tables, where anything was corrected.

        The change that they follow is on disk already. Where they cannot be written (a disk is
        full, a spreadsheet holds them open) it stands nevertheless, and `unwritten` says so.
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
            for region in self._measured(picture)
        ]
        write_corrected_tables(self.counted.folder, self.annotator, counts, regions)

    def change_regions(self, index: int, change: Any) -> None:
        """Draw regions of a picture, or take some away; those that others drew meanwhile stay.

        Args:
            index: of the picture.
            change: lists of regions, `added` and `removed`. A new one whose name another has gets
                a number behind it.

        Raises:
            UserError: they are no regions, or cannot be written.
        """
        picture = self._picture(index)
        if not isinstance(change, dict) or not change.keys() <= {"added", "removed"}:
            raise UserError("A change of regions has lists called added and removed.")
        folder = self.counted.folder
        # Others who look at the same folder draw into the same file.
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
        """How far the method and all people of the folder agree."""
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
        """A tile of a picture, see `PictureTiles.tile`.

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
        """The counts of the method and the person; of an untouched picture they are the same.

        Counted once for the same changes: after each one the tables and the page have all pictures.
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

    def _measured(self, picture: CountedPicture) -> list[dict[str, Any]]:
        """The regions of a picture with their cells, areas and densities.

        Of a method without places nobody knows the cells of a region until some are added.

        They are measured once for the same regions and changes: lines drawn by hand have hundreds
        of corners, and the tables have the regions of all pictures after every change.
        """
        own = self._regions.get(picture.name, [])
        of = (own, self._log.of(picture.name, picture.sha256))
        known = self._measurements.get(picture.name)
        if known is not None and known[0] == of:
            return known[1]
        done, placed = self._done(picture), picture.points is not None
        cells = np.concatenate([picture.places[done.kept], done.added])
        found = []
        for region in own:
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
        self._measurements[picture.name] = (of, found)
        return found

    def _read_regions(self) -> None:
        """Read the regions where the file has changed: others draw into it too."""
        try:
            found = (self.counted.folder / REGIONS).stat()
            stamp = (found.st_mtime_ns, found.st_size)
        except OSError:
            stamp = None
        if stamp is None or stamp != self._regions_stamp:
            self._regions = read_regions(self.counted.folder)
            self._regions_stamp = stamp


def _density(picture: CountedPicture, cells: float | None, area_px: float) -> float | None:
    """Cells a square millimetre; None where they or the size of a pixel are not known."""
    um = picture.um_per_px
    return None if cells is None or um is None or not area_px else cells / (area_px * um**2) * 1e6
