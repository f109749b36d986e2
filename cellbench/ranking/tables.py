"""Leaderboards as Markdown, CSV and JSON, safe for any name of a method."""

import csv
import html
import io
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from cellbench.durations import rough_duration
from cellbench.errors import UserError
from cellbench.files.writing import write_atomically
from cellbench.ranking.clusters import cluster_word
from cellbench.ranking.rows import PEOPLE, PUBLISHED, Row
from cellbench.ranking.short_names import short_names

SIMULATED = "Simulated images: these numbers say nothing about real cells."
SHARED = (
    "Rows that share a rank do not differ significantly on these images: neighbours must differ by "
    "about {least:.1f} cells in MAE (95 %, all pairs of the table)."
)
SHORTENED = "In brackets is what --set changed, without the keys of parts; the CSV has them whole."

UNKNOWN = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """Displayed column of a table.

    Attributes:
        title: heading.
        field: field of `Row`; for a span, the name before `_low` and `_high`.
        digits: decimals of numbers; numbers from papers show at most one.
        kind: format of numbers: plain, "span", "large" or "seconds"; of lists: plain or "counted".
        left: whether it is text, not a number.
        level: 0 is always shown, 1 in wide tables, 2 in the widest.
        trained: whether it is empty for methods without gradient steps or without parameters.
    """

    title: str
    field: str
    digits: int = 0
    kind: str = ""
    left: bool = False
    level: int = 0
    trained: bool = False

    def text(self, row: Row) -> str:
        """Format the column's value of a row; a dash for an unknown one."""
        digits = min(self.digits, 1) if row.source else self.digits
        if self.kind == "span":
            low, high = getattr(row, f"{self.field}_low"), getattr(row, f"{self.field}_high")
            if low is None or high is None:
                return UNKNOWN
            return "–".join(f"{end:.{digits}f}" for end in ([low] if low == high else [low, high]))
        value = getattr(row, self.field)
        if value is None or value == () or (self.trained and not (row.by_steps and row.parameters)):
            return UNKNOWN
        if isinstance(value, str):
            return plain(value) or UNKNOWN
        if isinstance(value, tuple):
            listed = ranges(value)
            return f"{len(value)} ({listed})" if self.kind == "counted" and value[1:] else listed
        if self.kind == "large":
            for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
                if value >= size:
                    return f"{value / size:.1f} {unit}"
        elif self.kind == "seconds":
            return rough_duration(value)
        return f"{value:.{digits}f}"


METHOD = Column("Method", "method", left=True)
COLUMNS = (
    Column("#", "rank"),
    Column("# 95 %", "rank", kind="span"),
    METHOD,
    Column("MAE", "mae", 2),
    Column("95 %", "mae", 1, kind="span"),
    Column("SD splits", "mae_sd", 2, level=2),
    Column("SD seeds", "mae_seed_sd", 2, level=2),
    Column("Raw MAE", "raw_mae", 2, level=2),
    Column("RMSE", "rmse", 2),
    Column("MAPE", "mape", 1, level=2),
    Column("R²", "r2", 3, level=2),
    Column("Bias", "bias", 2, level=2),
    Column("F1", "f1", 3),
    Column("GAME(3)", "game3", 1, level=2),
    Column("Shared", "shared", 2, level=2),
    Column("Splits", "splits", kind="counted", left=True),
    Column("Seeds", "seeds", left=True, level=2),
    Column("Parameters", "parameters", kind="large", level=1),
    Column("GFLOPs", "gflops", 1, level=1),
    Column("Images/s", "images_per_s", 1, level=1),
    Column("Training", "train_s", kind="seconds", level=1),
    Column("Steps", "iterations", level=2, trained=True),
    Column("Selection", "selection", left=True, level=1),
    Column("Weights", "weights", left=True, level=1, trained=True),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of a table as text.

    Attributes:
        columns: the columns that are shown.
        lines: per row one text per column; a method carries its footnote mark.
        widths: characters of every column.
        notes: the difference that the table can distinguish; then why rows are not ranked or how
            they depart, each reason once, after its mark.
    """

    columns: list[Column]
    lines: list[list[str]]
    widths: list[int]
    notes: list[str]


def lay_out(rows: Sequence[Row], *, width: int | None = None) -> Layout:
    """Lay out a table in as many columns as fit the width, without empty ones.

    Args:
        rows: rows of the table.
        width: characters per line; None for all columns.
    """
    known: dict[str, str] = {}
    marks = [
        " " + known.setdefault(row.note, str(len(known) + 1).translate(_RAISED)) if row.note else ""
        for row in rows
    ]
    methods = [row.method for row in rows]
    names = short_names(methods)
    least = next((row.least_difference for row in rows if row.least_difference is not None), None)
    notes = [] if least is None else [SHARED.format(least=least)]
    notes += [f"{mark} {plain(note)}" for note, mark in known.items()]
    notes += [SHORTENED] if names != methods else []
    texts = {column: [column.text(row) for row in rows] for column in COLUMNS}
    texts[METHOD] = [plain(name) or UNKNOWN for name in names]
    filled = [c for c, shown in texts.items() if c is METHOD or set(shown) != {UNKNOWN}]
    for level in (2, 1, 0):
        columns = [column for column in filled if column.level <= level]
        lines = [
            [texts[c][index] + mark * (c is METHOD) for c in columns]
            for index, mark in enumerate(marks)
        ]
        heads = [column.title for column in columns]
        widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
        if width is None or sum(widths) + 3 * len(columns) + 1 <= width:
            break
    return Layout(columns, lines, widths, notes)


_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def ranges(numbers: Sequence[int]) -> str:
    """Format whole numbers with runs shortened, such as `0-2 4`."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return " ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def plain(text: str) -> str:
    """Remove control, direction and other invisible characters, and join lines."""
    spaced = " ".join(text.split())
    if spaced.isprintable():  # characters of these categories are not
        return spaced
    return "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))


def as_json(rows: Sequence[Row]) -> str:
    """Format rows as a JSON list of objects with the fields of `Row`; `[]` without rows."""
    return json.dumps([asdict(row) for row in rows], indent=2, allow_nan=False)


def as_csv(rows: Sequence[Row]) -> str:
    """Format rows as CSV: a header, then one line per row with the fields of `Row`."""
    names = [field.name for field in fields(Row)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([csv_cell(getattr(row, name)) for name in names])
    return text.getvalue()


_BESIDE = {PUBLISHED: "Published", PEOPLE: "People"}


def as_markdown(dataset: str, rows: Sequence[Row]) -> str:
    """Format a page with a table for every protocol of one set."""
    lines = [f"# {markdown(dataset)}", ""]
    if any(row.simulated for row in rows):
        lines += [f"**{SIMULATED}**", ""]
    for protocol, group in groupby(rows, key=lambda row: row.protocol):
        title = _BESIDE.get(protocol) or f"Protocol {markdown(protocol)}"
        table = lay_out(list(group))
        heads = [markdown(column.title) for column in table.columns]
        rule = [":--" if column.left else "--:" for column in table.columns]
        body = [[markdown(text) for text in line] for line in table.lines]
        lines += [f"## {title}", "", *(f"| {' | '.join(line)} |" for line in (heads, rule, *body))]
        lines += [part for note in table.notes for part in ("", markdown(note))] + [""]
    if not rows:
        lines += ["No ranked row yet.", ""]
    lines += [
        "MAE: mean over test images, each averaged over seeds and splits; 95 %: by bootstrap over "
        f"{cluster_word(dataset)}s, the rank's too. Written by `cellbench leaderboard` from "
        "`records/`; the columns are explained in [README.md](README.md).",
    ]
    return "\n".join(lines) + "\n"


def write_tables(store: Path, dataset: str, rows: Sequence[Row]) -> list[Path]:
    """Write `leaderboards/<set>.md` and `.csv` where they have changed.

    Returns:
        The written files.

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


def markdown(text: str) -> str:
    """Escape text so that Markdown shows it as it is, in a table or outside."""
    shown = html.escape(plain(text), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|#~$" else c for c in shown)


def csv_cell(value: Any) -> Any:
    """Format a CSV cell that no spreadsheet takes for a formula."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, str):
        return unformulated(plain(value))
    return value


def unformulated(text: str) -> str:
    """Put a quote before text that a spreadsheet would take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")) else text
