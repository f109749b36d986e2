"""Counts and densities of regions of the counted pictures: `regions.csv`."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellbench.counting.count_rows import Counted, csv_lines
from cellbench.data.images import SUFFIXES
from cellbench.data.regions import GEOJSON, IMAGEJ, read_regions
from cellbench.errors import UserError
from cellbench.files.writing import write_atomically
from cellbench.ranking.tables import csv_cell
from cellbench.structures import Points, Prediction, no_points

FILE = "regions.csv"
OUTSIDE = "outside all regions"
_HEAD = ("image", "region", "count", "area_px", "area_mm2", "per_mm2")
_ENDINGS = ("", "_roi", "_rois", "_mask", "_regions")


@dataclass(frozen=True, slots=True)
class RegionCount:
    """Count of a region of a picture.

    Attributes:
        image: name of the picture in the tables.
        region: name of the region; `OUTSIDE` for cells in no region.
        count: cells whose centre lies in it.
        area_px: area within the picture, px; None for `OUTSIDE`.
        area_mm2: area, square millimetres; None if it or the size of a pixel is unknown.
    """

    image: str
    region: str
    count: int
    area_px: float | None
    area_mm2: float | None

    @property
    def per_mm2(self) -> float | None:
        """Cells per square millimetre; None if the area is unknown or zero."""
        return self.count / self.area_mm2 if self.area_mm2 else None


def count_regions(
    counted: Iterable[Counted],
    found: Mapping[str, Prediction],
    files: Mapping[str, Path],
    regions: Path,
) -> tuple[list[RegionCount], list[tuple[str, str]]]:
    """Count the cells of every region.

    Args:
        counted: the pictures.
        found: their cells, by name.
        files: paths of the pictures, by name; of an unpacked plane, the path of its stack.
        regions: a file for all pictures, or a folder with one file per picture that has its name,
            optionally with _roi, _rois, _mask or _regions appended.

    Returns:
        The counts; name and reason of each picture without them.
    """
    counts: list[RegionCount] = []
    missing: list[tuple[str, str]] = []
    for one in counted:
        try:
            file = regions if regions.is_file() else _file_of(files[one.image], regions)
            cells = found.get(one.image)
            if one.points is None:
                raise UserError("its method gives no places, without which regions have no count.")
            points = no_points() if cells is None or cells.points is None else cells.points
            counts += _of_picture(one, points, file)
        except UserError as error:
            missing.append((one.image, f"no regions: {error}"))
    return counts, missing


def write_regions(folder: Path, counts: Iterable[RegionCount]) -> Path:
    """Write `regions.csv`, and return its path.

    Raises:
        UserError: it cannot be written.
    """
    rows: list[Sequence[Any]] = [_HEAD]
    for one in counts:
        numbers = (one.area_px, one.area_mm2, one.per_mm2)
        cells = ("" if number is None else f"{number:.8g}" for number in numbers)
        rows.append([one.image, csv_cell(one.region), one.count, *cells])
    write_atomically(folder / FILE, csv_lines(rows), elsewhere="--out")
    return folder / FILE


def _of_picture(one: Counted, points: Points, file: Path) -> list[RegionCount]:
    edge = one.um_per_px
    rows = []
    outside = np.ones(len(points), dtype=bool)
    for region in read_regions(file, one.size):
        within = region.contains(points)
        outside &= ~within
        area = region.area_px
        mm2 = None if edge is None else area * edge**2 / 1e6
        rows.append(RegionCount(one.image, region.name, int(within.sum()), area, mm2))
    return [*rows, RegionCount(one.image, OUTSIDE, int(outside.sum()), None, None)]


def _file_of(picture: Path, folder: Path) -> Path:
    # A Mac stores an umlaut as two characters, other systems as one.
    forms = [picture.name, *(unicodedata.normalize(f, picture.name) for f in ("NFC", "NFD"))]
    stems = list(dict.fromkeys(part for name in forms for part in (Path(name).stem, name)))
    for ending in _ENDINGS:
        for suffix in (*GEOJSON, *IMAGEJ, *sorted(SUFFIXES)):
            for stem in stems:
                file = folder / f"{stem}{ending}{suffix}"
                if file.is_file() and not file.samefile(picture):
                    return file
    raise UserError(f"{folder} holds no file of regions for {picture.name}, such as "
                    f"{picture.stem}.geojson or {picture.stem}_roi.zip.")  # fmt: skip
