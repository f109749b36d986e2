"""The work of `cellbench count`, and how it looks: tables, marked pictures, progress."""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from cellbench.cli.progress import pictures_progress
from cellbench.counting.count_tables import Counted, CountTables
from cellbench.counting.point_exports import WRITERS
from cellbench.data.images import TooLarge, read_image
from cellbench.data.large import LargePicture, picture_size, read_picture
from cellbench.errors import UserError
from cellbench.files.limits import PICTURE
from cellbench.files.writing import write_atomically
from cellbench.ranking.tables import plain
from cellbench.structures import Prediction

if TYPE_CHECKING:
    from cellbench.counting.trained_counter import TrainedCounter
    from cellbench.records.trained_runs import TrainedRun

# More pictures than this are summed up in the terminal, not listed.
_MOST = 40


class CountWork:
    """Pictures, one after the other, with what is done and the time left."""

    def __init__(
        self,
        counter: "TrainedCounter",
        tables: CountTables,
        beside: "Exporter",
        *,
        scale: float,
        um_per_px: float | None,
    ) -> None:
        """Remember how to count, and where it is written."""
        self.counter = counter
        self.tables = tables
        self.beside = beside
        self.scale = scale
        self.um_per_px = um_per_px

    def all(self, pictures: Sequence[tuple[str, Path, str]], console: Console) -> list[str]:
        """Count every picture that can be read.

        Args:
            pictures: name, file and SHA-256.
            console: shows how far it is.

        Returns:
            A sentence for every picture that could not be counted.
        """
        refused: list[str] = []
        areas: dict[str, int] = {}
        for name, path, _ in pictures:
            try:
                width, height = picture_size(path)
                areas[name] = width * height
            except UserError as error:
                refused.append(str(error))
        with pictures_progress(console, sum(areas.values())) as advance:
            for name, path, sha256 in pictures:
                if name not in areas:
                    continue
                area = areas[name]
                try:
                    counted, found, pixels = self._one(name, path, sha256, _part(advance, area))
                except UserError as error:
                    refused.append(str(error))
                    advance(area)
                else:
                    self.tables.add(counted, found)
                    self.beside.write(counted, found, path, pixels)
        return refused

    def _one(
        self, name: str, path: Path, sha256: str, seen: Callable[[float], None]
    ) -> tuple[Counted, Prediction, Any]:
        """Count a picture: its line, what was found, its pixels."""
        pixels = read_picture(path)
        height, width = pixels.shape[:2]
        if isinstance(pixels, LargePicture) and self.counter.transforms:
            raise UserError(
                f"{name} has {width}x{height} px, which is read in tiles, and this method prepares "
                f"pictures as a whole; cut it into pieces, or {PICTURE.mend}."
            )
        found = self.counter.count(cast(Any, pixels), scale=self.scale, name=name, progress=seen)
        per_mm2 = None
        if self.um_per_px is not None:
            per_mm2 = found.count / (width * height * self.um_per_px**2) * 1e6
        points = None if found.points is None else len(found.points)
        return Counted(name, found.count, per_mm2, (width, height), points, sha256), found, pixels


class Exporter:
    """What is written beside the tables: marked pictures, and points for other programs."""

    def __init__(self, folder: Path, *, pictures: bool, programs: Sequence[str]) -> None:
        """Remember what is wanted."""
        self.folder = folder
        self.pictures = pictures
        self.programs = programs

    def write_missing(self, tables: CountTables, files: Mapping[str, Path]) -> None:
        """Write what is missing of pictures that were counted before."""
        lacking = [
            name
            for name, path in files.items()
            if tables.done[name].points is not None
            and not all(file.is_file() for file in self._places(tables.done[name], path).values())
        ]
        for name, found in tables.found(lacking).items():
            self.write(tables.done[name], found, files[name])

    def write(self, counted: Counted, found: Prediction, path: Path, pixels: Any = None) -> None:
        """Write what is wanted of a picture.

        Args:
            counted: its line.
            found: its cells; nothing is written for a method without points.
            path: of the picture.
            pixels: of it; read where they are wanted and not given.
        """
        if found.points is None:
            return
        found = _as_kept(found)
        for kind, file in self._places(counted, path).items():
            if kind == "pictures":
                with suppress(TooLarge):  # nobody opens a drawing of that size
                    write_atomically(file, _marked(counted, found, path, pixels), elsewhere="--out")
            else:
                text = WRITERS[kind][1](found.points, found.scores, name=counted.image)
                write_atomically(file, text.encode("utf-8"))

    def _places(self, counted: Counted, path: Path) -> dict[str, Path]:
        """The files of a picture, by the folder that they are in."""
        # Pictures of one name from two folders must not write over each other.
        stem = f"{path.stem}-{counted.sha256[:8]}"
        wanted = {"pictures": ".png"} if self.pictures else {}
        wanted |= {program: WRITERS[program][0] for program in self.programs}
        return {kind: self.folder / kind / f"{stem}{end}" for kind, end in wanted.items()}


def _marked(counted: Counted, found: Prediction, path: Path, pixels: Any) -> bytes:
    """A PNG of the picture with its cells marked."""
    from cellbench.drawing import overlay  # fonts take their time

    shown = read_image(path) if pixels is None or isinstance(pixels, LargePicture) else pixels
    caption = f"{counted.count:.1f} cells: {path.name}"
    stream = io.BytesIO()
    overlay(shown, predicted=found.points, caption=caption).save(stream, "PNG")
    return stream.getvalue()


def _as_kept(found: Prediction) -> Prediction:
    """Points and scores as the tables keep them: what is made from these later is the same."""

    def rounded(values: Any, digits: int) -> Any:
        return np.array([float(f"{v:.{digits}f}") for v in values.ravel().tolist()], np.float32)

    assert found.points is not None
    points = rounded(found.points, 4).reshape(-1, 2)
    return Prediction(
        found.count, points, None if found.scores is None else rounded(found.scores, 4)
    )


def _part(advance: Callable[[float], None], area: int) -> Callable[[float], None]:
    """From shares of a picture to px of it."""
    return lambda share: advance(share * area)


def show_counts(
    console: Console, counted: Sequence[Counted], run: "TrainedRun", folder: Path
) -> None:
    """The counts as a table, their sum, and how far off the method is on its own test part."""
    dense = any(one.per_mm2 is not None for one in counted)
    if 0 < len(counted) <= _MOST:
        table = Table()
        table.add_column("picture", overflow="fold")
        table.add_column("cells", justify="right")
        if dense:
            table.add_column("cells/mm²", justify="right")
        for one in counted:
            density = [f"{one.per_mm2:.1f}"] if one.per_mm2 is not None else [""] if dense else []
            table.add_row(plain(one.image), f"{one.count:.1f}", *density)
        console.print(table)
    record = run.record
    noun = "picture" if len(counted) == 1 else "pictures"
    said = [
        f"{sum(one.count for one in counted):.1f} cells in {len(counted)} {noun}.",
        f"{record['method']} was {record['metrics']['mae']:.2f} cells off on average on the test "
        f"images of {record['dataset']}; on pictures unlike those it may be farther off.",
        f"Tables and pictures: {folder}",
    ]
    for sentence in said:
        console.print(plain(sentence), markup=False, soft_wrap=True)
