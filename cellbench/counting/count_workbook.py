"""Excel workbook of a counted folder, with one sheet per table.

A spreadsheet program whose decimal sign is a comma takes the lines of a CSV file for one column;
a workbook keeps numbers as numbers in every language. It is made from the tables alone.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellbench.counting.count_rows import text_of
from cellbench.counting.count_tables import COUNTS, METHOD, SKIPPED
from cellbench.counting.experiment_means import FILE as ESTIMATES
from cellbench.errors import UserError
from cellbench.files.writing import write_atomically

if TYPE_CHECKING:
    from xlsxwriter import Workbook

WORKBOOK = "counts.xlsx"

# Every other column holds numbers. A name such as 007, or a hash such as 12e45, is none.
_TEXTS = {"image", "sha256", "notes", "region", "reason", "group", "checked", "setting", "value"}
# Limits of the format; rows include the head.
_MOST_ROWS = 1_048_576
_MOST_CHARACTERS = 32_767
_LONGEST_NAME = 31


def write_workbook(folder: Path) -> None:
    """Write `counts.xlsx` from the tables of a counted folder, those of corrected counts included.

    `points.csv` is left out: a sheet ends after a million rows.

    Args:
        folder: the counted folder.

    Raises:
        UserError: a table has more rows than a sheet, or the file cannot be written, as in Windows
            while Excel has it open.
    """
    import xlsxwriter

    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream, {"in_memory": True}) as book:
        used: set[str] = set()
        for name, rows in _tables(folder):
            if not rows:  # not a table that this version can read
                continue
            if len(rows) > _MOST_ROWS:
                raise UserError(
                    f"{name}.csv has {len(rows):,} lines, and a sheet of Excel {_MOST_ROWS:,} at "
                    f"most; {WORKBOOK} is not written, the tables are."
                )
            _add_sheet(book, _sheet_name(name, used), rows)
    write_atomically(folder / WORKBOOK, stream.getvalue(), elsewhere="--out")


def _tables(folder: Path) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield name and rows, head first, of each table that becomes a sheet."""
    corrected = sorted(
        path.name
        for kind in ("counts", "regions")
        for path in folder.glob(f"{kind}-corrected*.csv")
    )
    for name in (COUNTS, "regions.csv", ESTIMATES, *corrected, SKIPPED):
        if (folder / name).is_file():
            lines = text_of(folder / name)
            yield name.removesuffix(".csv"), list(csv.reader(io.StringIO(lines, newline="")))
    settings = json.loads(text_of(folder / METHOD))
    rows = [
        [name, value if isinstance(value, str) else json.dumps(value)]
        for name, value in settings.items()
    ]
    yield METHOD.removesuffix(".json"), [["setting", "value"], *rows]


def _sheet_name(name: str, used: set[str]) -> str:
    """Return a sheet's name: as short as Excel wants it, and unlike others in any case."""
    short, number = name[:_LONGEST_NAME], 2
    while short.lower() in used:
        end = f"-{number}"
        short, number = name[: _LONGEST_NAME - len(end)] + end, number + 1
    used.add(short.lower())
    return short


def _add_sheet(book: "Workbook", name: str, rows: Sequence[Sequence[str]]) -> None:
    """Add a sheet with a bold head that stays in view and can filter the rows."""
    sheet = book.add_worksheet(name)
    head = rows[0]
    sheet.write_row(0, 0, head, book.add_format({"bold": True}))
    for y, row in enumerate(rows[1:], start=1):
        for x, (column, cell) in enumerate(zip(head, row, strict=False)):
            number = None if column in _TEXTS else _number(cell)
            if number is not None:
                sheet.write_number(y, x, number)
            elif cell:
                # Written as text: one that starts with = is no formula.
                sheet.write_string(y, x, cell[:_MOST_CHARACTERS])
    sheet.freeze_panes(1, 0)
    sheet.autofilter(0, 0, len(rows) - 1, len(head) - 1)
    sheet.autofit()


def _number(cell: str) -> float | None:
    """Return a cell's finite number; None if it is empty or text."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
