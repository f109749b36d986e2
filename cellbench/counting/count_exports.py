"""Files beside the tables of a count: marked pictures, and points for other programs."""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cellbench.counting.count_rows import Counted
from cellbench.counting.count_tables import CountTables
from cellbench.counting.point_exports import WRITERS
from cellbench.data.large import LargePicture, Pixels, open_picture
from cellbench.data.planes import FIRST_PLANE, StackPlane
from cellbench.data.reader import ReadOptions, plane_of
from cellbench.files.writing import write_atomically
from cellbench.ranking.tables import unformulated
from cellbench.structures import Prediction


@dataclass(frozen=True, slots=True)
class Exporter:
    """Writes files beside the tables: marked pictures, and points for other programs.

    Attributes:
        folder: of the tables.
        pictures: whether pictures are marked.
        programs: keys of `WRITERS`.
        reading: how the pictures were read.
    """

    folder: Path
    pictures: bool
    programs: Sequence[str]
    reading: ReadOptions

    def files(self, counted: Counted, path: Path) -> dict[str, Path]:
        """The files of a picture, by the folder that they are in."""
        if counted.points is None:
            return {}
        # Pictures of one name from two folders must not write over each other.
        # Disks take names of 255 bytes; the hash tells two names apart that are cut alike.
        start = os.fsencode(path.stem)[:200].decode("utf-8", "ignore")
        # As bytes it is the same in every locale, also in one whose encoding lacks its signs.
        start = os.fsdecode(start.encode("utf-8"))
        stem = f"{start}-{counted.sha256[:8]}"
        wanted = {"pictures": ".png"} if self.pictures else {}
        wanted |= {program: WRITERS[program][0] for program in self.programs}
        return {kind: self.folder / kind / f"{stem}{end}" for kind, end in wanted.items()}

    def write_missing(self, tables: CountTables, known: Mapping[str, Path]) -> None:
        """Write the missing files of pictures that were counted before, named with their paths."""
        lacking = [
            name
            for name, path in known.items()
            if not all(file.is_file() for file in self.files(tables.done[name], path).values())
        ]
        for name, found in tables.found(lacking).items():
            self.write(tables.done[name], found, known[name])

    def write(
        self, counted: Counted, found: Prediction, path: Path, pixels: Pixels | None = None
    ) -> None:
        """Write the files of a picture; none for a method without points.

        Args:
            counted: its line in the table.
            found: its cells.
            path: of the picture.
            pixels: of it; read from `path` where they are needed and not given.
        """
        # Other programs go by the name that the file has, not by the one that spreadsheets take.
        quoted = unformulated(str(path)) != str(path)
        name = counted.image.removeprefix("'") if quoted else counted.image
        plane = self._plane(path) if self.programs else FIRST_PLANE
        for kind, file in self.files(counted, path).items():
            if kind != "pictures":
                write = WRITERS[kind][1]
                data = write(found.points, found.scores, name=name, size=counted.size, plane=plane)
                write_atomically(file, data)
                continue
            from cellbench.drawing import overlay  # loading fonts takes time

            if pixels is None:
                pixels = open_picture(path, self.reading).pixels
            if isinstance(pixels, LargePicture):  # a drawing of that size cannot be opened
                continue
            caption = f"{counted.count:.1f} cells: {path.name}"
            stream = io.BytesIO()
            # Of a picture the levels above save a tenth of its size, and take four times as long.
            drawn = overlay(pixels, predicted=found.points, caption=caption)
            drawn.save(stream, "PNG", compress_level=1)
            write_atomically(file, stream.getvalue(), elsewhere="--out")

    def _plane(self, path: Path) -> StackPlane:
        """Which plane of a picture's file was counted; files of one need no choice."""
        planes = self.reading.planes
        chosen = planes.page is not None or planes.channel is not None
        return plane_of(path, planes) if chosen else FIRST_PLANE
