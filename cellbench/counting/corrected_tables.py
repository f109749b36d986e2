"""What a person's corrections come to: a line a picture, and a line a region that was drawn.

`corrected.csv` holds single changes; these tables hold the counts after them, and go into a
spreadsheet as they are. They are made anew from the changes whenever one is made.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellbench.counting.count_rows import csv_lines
from cellbench.counting.counted_folder import CountedPicture
from cellbench.files.writing import write_atomically
from cellbench.ranking.tables import csv_cell

# `count` and `per_mm2` are called as in the method's own table, so that one can replace the other.
COUNTS_HEAD = (
    "image", "count", "per_mm2", "checked", "method_count", "method_per_mm2",
    "width_px", "height_px", "sha256",
)  # fmt: skip
REGIONS_HEAD = ("image", "region", "count", "per_mm2", "method_count", "area_px")


def table_name(kind: str, annotator: str) -> str:
    """The file of a table: `kind` is counts or regions, the name of a person may be empty."""
    return f"{kind}-corrected{annotator and f'-{annotator}'}.csv"


def write_corrected_tables(
    folder: Path,
    annotator: str,
    counts: Sequence[tuple[CountedPicture, Mapping[str, Any]]],
    regions: Sequence[tuple[CountedPicture, Mapping[str, Any]]],
) -> None:
    """Write both tables; that of regions only where there are any, or were.

    Args:
        folder: of the count.
        annotator: name of the person; "" for corrected.csv.
        counts: every picture with its `corrected` and `method` count, their densities and whether
            it was `checked`.
        regions: of every region its picture, its `name`, and its `cells` after and before
            (`method`) the changes, None where they are not known, with its area and density.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    lines = [
        (
            picture.name,
            _number(own["corrected"]),
            _number(own["corrected_per_mm2"]),
            "yes" if own["checked"] else "no",
            _number(own["method"]),
            _number(own["method_per_mm2"]),
            *picture.size,
            picture.sha256,
        )
        for picture, own in counts
    ]
    _write(folder / table_name("counts", annotator), [COUNTS_HEAD, *lines])
    path = folder / table_name("regions", annotator)
    if regions or path.exists():
        found = [
            (
                picture.name,
                csv_cell(own["name"]),
                _number(own["cells"]),
                _number(own["per_mm2"]),
                _number(own["method"]),
                _number(own["area_px"]),
            )
            for picture, own in regions
        ]
        _write(path, [REGIONS_HEAD, *found])


def _write(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    write_atomically(path, csv_lines(rows), elsewhere="--out of count")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
