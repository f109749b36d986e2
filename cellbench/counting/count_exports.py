"""Export of marked pictures, and of points for other programs, beside the tables of a count."""

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
    """Writer of marked pictures, and of points for other programs.

    Attributes:
        folder: folder of the tables.
        pictures: whether marked pictures are written.
        programs: keys of `WRITERS`.
        reading: how the pictures were read.
    """

    folder: Path
    pictures: bool
    programs: Sequence[str]
    reading: ReadOptions

    def files(self, counted: Counted, path: Path) -> dict[str, Path]:
        """Return the export paths of a picture by kind, which is also the subfolder's name."""
        if counted.points is None:
            return {}
        # File systems limit names to 255 bytes. The hash separates names with the same first 200
        # bytes, and pictures of the same name from two folders.
        start = os.fsencode(path.stem)[:200].decode("utf-8", "ignore")
        # Encoded as bytes, the name is the same in every locale, also in those without UTF-8.
        start = os.fsdecode(start.encode("utf-8"))
        stem = f"{start}-{counted.sha256[:8]}"
        wanted = {"pictures": ".png"} if self.pictures else {}
        wanted |= {program: WRITERS[program][0] for program in self.programs}
        return {kind: self.folder / kind / f"{stem}{end}" for kind, end in wanted.items()}

    def write_missing(self, tables: CountTables, known: Mapping[str, Path]) -> None:
        """Write the missing files of pictures that were counted before; `known` has their paths."""
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
            counted: its row in the table.
            found: its cells.
            path: path of the picture.
            pixels: its pixels; read from `path` if needed and not given.
        """
        # Other programs need the name of the file, without the quote that spreadsheets need.
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
            # Higher levels make a picture a tenth smaller, and take four times as long.
            drawn = overlay(pixels, predicted=found.points, caption=caption)
            drawn.save(stream, "PNG", compress_level=1)
            write_atomically(file, stream.getvalue(), elsewhere="--out")

    def _plane(self, path: Path) -> StackPlane:
        """Return the plane of the picture's file that was counted; the first if none was chosen."""
        planes = self.reading.planes
        chosen = planes.page is not None or planes.channel is not None
        return plane_of(path, planes) if chosen else FIRST_PLANE
