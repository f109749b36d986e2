"""Published results from papers, shown beside ours and never ranked among them.

They were measured on other splits, by other rules and mostly with code that we have not run: the
rule by which each was selected is part of the row.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from cellbench.errors import UserError
from cellbench.files.reading import read_file

COLUMNS = ("method", "dataset", "mae", "rmse", "mae_sd", "selection", "paper", "table", "note")
MAX_BYTES = 16 * 2**20
SELECTIONS = ("val", "test", "train crops", "unknown")


@dataclass(frozen=True, slots=True)
class Published:
    """Result of one method on one set, as reported in a paper.

    Attributes:
        method: name in the paper's table.
        dataset: name of the set.
        mae: cells.
        rmse: cells, under the heading "MSE" in the papers; None if not reported.
        mae_sd: value that the paper gives after ±; None if not reported.
        selection: data that the weights were selected on: val, test, train crops or unknown.
        paper: the paper that reports it.
        table: table of the DLA-Count paper, 2 to 5; None for other papers.
        note: further remarks.
    """

    method: str
    dataset: str
    mae: float
    rmse: float | None
    mae_sd: float | None
    selection: str
    paper: str
    table: int | None
    note: str

    @property
    def title(self) -> str:
        """Method name for use outside its table."""
        if self.table == 2:
            return "DLA-Count" if self.method == "Ours" else self.method
        return self.method if self.table is None else f"DLA-Count, {self.method}"

    @property
    def source(self) -> str:
        """Paper and table, for display."""
        return self.paper if self.table is None else f"{self.paper}, Table {self.table}"


def published_file(store: Path | None = None) -> Path:
    """Return the store's own `leaderboards/published.csv` if it has one, else the shipped one."""
    if store is not None and (own := store / "leaderboards/published.csv").is_file():
        return own
    package = Path(__file__).parents[1]
    shipped = package / "published.csv"  # in a wheel
    return shipped if shipped.is_file() else package.parent / "leaderboards/published.csv"


def read_published(path: Path | None = None) -> list[Published]:
    """Read published results from a CSV.

    Args:
        path: a CSV with the columns `COLUMNS`; the shipped one by default.

    Returns:
        The results in the order of the file.

    Raises:
        UserError: the file is missing, or a line of it is invalid.
    """
    path = path or published_file()
    try:
        text = read_file(path, most=MAX_BYTES).decode("utf-8")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"{path} has to have the columns {', '.join(COLUMNS)}.")
        return [_row(path, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"The published numbers {path} cannot be read ({reason}).") from error


def _number(text: str) -> float:
    value = float(text)
    if not text.isascii() or not 0 <= value < 1e9:
        raise ValueError(f"{text[:40]!r} is no number of cells")
    return value


def _row(path: Path, line: int, row: dict[str, str]) -> Published:
    try:
        if None in row or None in row.values():
            raise ValueError("it has too many or too few values")
        if row["selection"] not in SELECTIONS:
            raise ValueError(f"selection is one of {', '.join(SELECTIONS)}")
        return Published(
            method=row["method"],
            dataset=row["dataset"],
            mae=_number(row["mae"]),
            rmse=_number(row["rmse"]) if row["rmse"] else None,
            mae_sd=_number(row["mae_sd"]) if row["mae_sd"] else None,
            selection=row["selection"],
            paper=row["paper"],
            table=int(row["table"]) if row["table"] else None,
            note=row["note"],
        )
    except ValueError as error:
        raise UserError(f"Line {line} of {path} is not a published number: {error}.") from error
