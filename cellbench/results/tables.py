"""Leaderboards as text: Markdown, CSV and JSON, safe whatever a method is called."""

import csv
import html
import io
import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from cellbench.data.files import write_atomically
from cellbench.errors import UserError
from cellbench.results.leaderboard import Row

SIMULATED = "Simulated images: these numbers say nothing about real cells."


@dataclass(frozen=True, slots=True)
class Column:
    """A column that people see.

    Attributes:
        title: its head.
        text: what it shows of a row.
        left: whether it is text, not a number.
        narrow: whether it stays where there is little room.
    """

    title: str
    text: Callable[[Row], str]
    left: bool = False
    narrow: bool = False


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _large(value: float | None) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value is not None and value >= size:
            return f"{value / size:.1f} {unit}"
    return "–" if value is None else f"{value:.0f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _interval(row: Row) -> str:
    if row.mae_low is None or row.mae_high is None:
        return "–"
    return f"{row.mae_low:.1f}–{row.mae_high:.1f}"


def _mae(row: Row) -> str:
    spread = "" if row.mae_sd is None else f" ± {row.mae_sd:.2f}"
    return _number(row.mae, 2) + spread


COLUMNS = (
    Column("#", lambda r: "–" if r.rank is None else str(r.rank), narrow=True),
    Column("Method", lambda r: plain(r.method), left=True, narrow=True),
    Column("MAE", _mae, narrow=True),
    Column("95 %", _interval, narrow=True),
    Column("RMSE", lambda r: _number(r.rmse, 2), narrow=True),
    Column("MAPE", lambda r: _number(r.mape, 1)),
    Column("R²", lambda r: _number(r.r2, 3)),
    Column("Bias", lambda r: _number(r.bias, 2)),
    Column("F1", lambda r: _number(r.f1, 3), narrow=True),
    Column("GAME(3)", lambda r: _number(r.game3, 1)),
    Column("Splits", lambda r: " ".join(map(str, r.splits)), left=True, narrow=True),
    Column("Seeds", lambda r: " ".join(map(str, r.seeds)), left=True),
    Column("Parameters", lambda r: _large(r.parameters)),
    Column("GFLOPs", lambda r: _number(r.gflops, 1)),
    Column("Images/s", lambda r: _number(r.images_per_s, 1)),
    Column("Training", lambda r: _duration(r.train_s)),
    Column("Steps", lambda r: str(r.iterations)),
    Column("Weights", lambda r: plain(r.weights), left=True),
)
NOTE = Column("Note", lambda r: plain(r.note), left=True, narrow=True)


def columns_for(rows: Sequence[Row], *, narrow: bool = False) -> list[Column]:
    """The columns of a table; the notes only where there are any."""
    columns = [column for column in COLUMNS if column.narrow or not narrow]
    return [*columns, NOTE] if any(row.note for row in rows) else columns


def plain(text: str) -> str:
    """Text without control, direction and other unseen characters, on one line."""
    spaced = " ".join(text.split())
    return "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))


def as_json(rows: Sequence[Row]) -> str:
    """A list of objects with the fields of `Row`; `[]` without rows."""
    return json.dumps([asdict(row) for row in rows], indent=2, allow_nan=False)


def as_csv(rows: Sequence[Row]) -> str:
    """One line a row with the fields of `Row`, after a header."""
    names = [field.name for field in fields(Row)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in names])
    return text.getvalue()


def as_markdown(dataset: str, rows: Sequence[Row]) -> str:
    """A page with a table for every protocol of one set."""
    lines = [f"# {_markdown(dataset)}", ""]
    if any(row.simulated for row in rows):
        lines += [f"**{SIMULATED}**", ""]
    for protocol, group in groupby(rows, key=lambda row: row.protocol):
        lines += [f"## Protocol {_markdown(protocol)}", "", *_table(list(group)), ""]
    if not rows:
        lines += ["No ranked row yet.", ""]
    lines += [
        "MAE: mean over splits, ± its deviation over splits where there are several; 95 %: "
        "bootstrap over test images. Written by `cellbench leaderboard` from `records/`; the "
        "columns are explained in [README.md](README.md).",
    ]
    return "\n".join(lines) + "\n"


def write_tables(store: Path, dataset: str, rows: Sequence[Row]) -> list[Path]:
    """Write `leaderboards/<set>.md` and `.csv` where they have changed.

    Returns:
        The files that were written.

    Raises:
        UserError: the folder cannot be written.
    """
    written = []
    for suffix, text in (("md", as_markdown(dataset, rows)), ("csv", as_csv(rows))):
        path, data = store / "leaderboards" / f"{dataset}.{suffix}", text.encode("utf-8")
        try:
            if path.is_file() and path.read_bytes() == data:
                continue
            write_atomically(path, data)
        except (OSError, UserError) as error:
            cause = error.__cause__ if isinstance(error, UserError) else error
            reason = (getattr(cause, "strerror", None) or str(cause)).lower()
            raise UserError(
                f"The table {path} could not be written ({reason}); make room, or say --no-write "
                "to see the table only."
            ) from error
        written.append(path)
    return written


def _table(rows: Sequence[Row]) -> list[str]:
    columns = columns_for(rows)
    heads = " | ".join(_markdown(column.title) for column in columns)
    rule = " | ".join(":--" if column.left else "--:" for column in columns)
    body = [" | ".join(_markdown(column.text(row)) for column in columns) for row in rows]
    return [f"| {line} |" for line in (heads, rule, *body)]


def _markdown(text: str) -> str:
    """Text that Markdown shows as it is, in a table or outside."""
    shown = html.escape(plain(text), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|#~$" else c for c in shown)


def _cell(value: Any) -> Any:
    """A CSV cell that no spreadsheet takes for a formula."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, str):
        text = plain(value)
        return f"'{text}" if text.startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")) else text
    return value
