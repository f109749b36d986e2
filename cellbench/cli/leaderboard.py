"""`cellbench leaderboard`: the tables, made from records alone."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import click

from cellbench.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from cellbench.results.leaderboard import Row

# Columns of text in a table that no terminal limits.
_UNLIMITED = 240
_WIDE = 190


@click.command()
@click.option("--dataset", metavar="NAME", help="One set; all that have records by default.")
@click.option("--protocol", metavar="NAME", help="One protocol; all ranked ones by default.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "md", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@click.option("--store", metavar="DIR", help="Folder of leaderboards/; the working one by default.")
@click.option("--all", "everything", is_flag=True, help="Also what is not ranked, and why.")
@click.option("--no-write", is_flag=True, help="Leave leaderboards/<set>.md and .csv as they are.")
def command(
    dataset: str | None,
    protocol: str | None,
    form: str,
    store: str | None,
    everything: bool,
    no_write: bool,
) -> None:
    """Show the leaderboard of a data set and write it to leaderboards/."""
    from cellbench import paths
    from cellbench.results.leaderboard import PROTOCOLS, rank_runs
    from cellbench.results.runs import datasets_with_records, load_records

    folder = paths.store(store)
    if store is not None and not folder.is_dir():
        raise UserError(
            f"There is no folder {store!r}; --store takes one that holds leaderboards/."
        )
    if protocol is not None and protocol not in PROTOCOLS:
        raise UserError(f"There is no protocol {protocol!r}; known are {', '.join(PROTOCOLS)}.")
    recorded = datasets_with_records(folder)
    if dataset is not None:
        dataset = _known_set(dataset, recorded)
    loaded = load_records(folder, dataset)
    for problem in loaded.problems:
        click.echo(f"cellbench: left out: {_clean(problem)}", err=True)
    rows = rank_runs(loaded.runs)
    asked = [row for row in rows if protocol is None or row.protocol == protocol]
    shown = [row for row in asked if everything or row.rank is not None or protocol is not None]
    _print(form, shown)
    if not shown:
        click.echo(_nothing(dataset, protocol, rows, recorded), err=form != "table")
    elif len(shown) < len(asked) and form == "table":
        click.echo(f"{_rows(len(asked) - len(shown))} not ranked: --all shows them, and why.")
    if not no_write:
        _write(folder, rows)


def _known_set(name: str, recorded: Sequence[str]) -> str:
    """The set that a user means; the plugins are read only if it has no records."""
    folded = name.casefold()
    if folded in recorded:
        return folded
    from cellbench import plugin_index

    known = {e.name for e in plugin_index.entries() if e.role in ("dataset", "simulator")}
    if folded not in known:
        listed = ", ".join(sorted(known | set(recorded)))
        raise UserError(f"There is no data set {name!r}; known are {listed}.")
    return folded


def _nothing(
    dataset: str | None, protocol: str | None, rows: Sequence["Row"], recorded: Sequence[str]
) -> str:
    """Why there is nothing to see, and what would change that."""
    under = f" under protocol {protocol}" if protocol else ""
    of = f" of {dataset}" if dataset else ""
    if rows and not protocol:
        return f"No ranked row{of} yet, but {_rows(len(rows))} not ranked: --all shows them."
    example = (dataset or "adi").removesuffix("-sim")
    others = [name for name in recorded if name != dataset]
    there = f" (there are records of {', '.join(map(_clean, others))})" if others else ""
    return f"No record{of}{under} yet{there}; cellbench run configs/dla_{example}.py makes one."


def _rows(number: int) -> str:
    return "1 row is" if number == 1 else f"{number} rows are"


def _print(form: str, rows: Sequence["Row"]) -> None:
    from cellbench.results import tables

    if form == "json":
        click.echo(tables.as_json(rows))
    elif form == "csv":
        click.echo(tables.as_csv(rows), nl=False)
    elif form == "md":
        pages = groupby(rows, key=lambda row: row.dataset)
        click.echo(
            "\n".join(tables.as_markdown(name, list(page)) for name, page in pages), nl=False
        )
    elif rows:
        _print_tables(rows)


def _print_tables(rows: Sequence["Row"]) -> None:
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cellbench.results import tables

    console = Console(width=None if sys.stdout.isatty() else _UNLIMITED, highlight=False)
    for (dataset, protocol), group in groupby(rows, key=lambda row: (row.dataset, row.protocol)):
        part = list(group)
        caption = tables.SIMULATED if part[0].simulated else None
        title = Text(f"{tables.plain(dataset)}, protocol {tables.plain(protocol)}")
        table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
        columns = tables.columns_for(part, narrow=console.width < _WIDE)
        for column in columns:
            table.add_column(
                column.title, justify="left" if column.left else "right", no_wrap=not column.left
            )
        for row in part:
            table.add_row(*(Text(column.text(row)) for column in columns))
        console.print(table)


def _write(folder: "Path", rows: Sequence["Row"]) -> None:
    """The ranked rows of every set that was read, whatever was asked to be shown."""
    from cellbench.results.tables import write_tables

    for dataset, group in groupby(rows, key=lambda row: row.dataset):
        write_tables(folder, dataset, [row for row in group if row.rank is not None])


def _clean(text: str) -> str:
    from cellbench.results.tables import plain

    return plain(text)
