"""Tables of corrected counts, for spreadsheets: one row per picture, one per drawn region.

`corrected.csv` holds the single changes; these tables hold the counts after them. They are
rewritten after every change.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellbench.counting.count_rows import csv_lines
from cellbench.counting.counted_folder import CountedPicture
from cellbench.files.writing import write_atomically
from cellbench.ranking.tables import csv_cell

# `count` and `per_mm2` have the names of the method's table, so that one can replace the other.
COUNTS_HEAD = (
    "image", "count", "per_mm2", "checked", "method_count", "method_per_mm2",
    "width_px", "height_px", "sha256",
)  # fmt: skip
REGIONS_HEAD = ("image", "region", "count", "per_mm2", "method_count", "area_px")


def table_name(kind: str, annotator: str) -> str:
    """Return the file name of a table: `kind` is counts or regions, `annotator` may be empty."""
    return f"{kind}-corrected{annotator and f'-{annotator}'}.csv"


def write_corrected_tables(
    folder: Path,
    annotator: str,
    counts: Sequence[tuple[CountedPicture, Mapping[str, Any]]],
    regions: Sequence[tuple[CountedPicture, Mapping[str, Any]]],
) -> None:
    """Write both tables; that of regions only if there are any, or the file exists.

    Args:
        folder: the counted folder.
        annotator: name of the annotator; "" for corrected.csv.
        counts: every picture with its `corrected` and `method` count, their densities and whether
            it was `checked`.
        regions: the picture of each region, with its `name`, its `cells` after and before
            (`method`) the changes, None where unknown, its area and its density.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    lines = [
        (
            picture.name,
            _number(values["corrected"]),
            _number(values["corrected_per_mm2"]),
            "yes" if values["checked"] else "no",
            _number(values["method"]),
            _number(values["method_per_mm2"]),
            *picture.size,
            picture.sha256,
        )
        for picture, values in counts
    ]
    _write(folder / table_name("counts", annotator), [COUNTS_HEAD, *lines])
    path = folder / table_name("regions", annotator)
    if regions or path.exists():
        found = [
            (
                picture.name,
                csv_cell(values["name"]),
                _number(values["cells"]),
                _number(values["per_mm2"]),
                _number(values["method"]),
                _number(values["area_px"]),
            )
            for picture, values in regions
        ]
        _write(path, [REGIONS_HEAD, *found])


def _write(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    write_atomically(path, csv_lines(rows), elsewhere="--out of count")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
