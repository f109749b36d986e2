"""`cellbench leaderboard`: the tables, made from records alone."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import click

from cellbench.cli.limits import max_sidecar
from cellbench.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from cellbench.ranking.rows import Row
    from cellbench.ranking.tables import Layout

# Columns of text in a table that no terminal limits.
_UNLIMITED = 260
# More rows than this are aligned without Rich, which takes a millisecond for each.
_MANY = 40


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
@click.option(
    "--store",
    "stores",
    metavar="DIR",
    multiple=True,
    help="Folder of leaderboards/; the working one by default. Given again, its records are read "
    "too; tables are written to the first.",
)
@click.option("--all", "everything", is_flag=True, help="Also what is not ranked, and why.")
@click.option("--published", is_flag=True, help="Also numbers from papers, unranked and greyed.")
@click.option("--check", is_flag=True, help="Check that every row follows from its records.")
@max_sidecar
@click.option("--no-write", is_flag=True, help="Leave leaderboards/<set>.md and .csv as they are.")
def command(
    dataset: str | None,
    protocol: str | None,
    form: str,
    stores: tuple[str, ...],
    everything: bool,
    published: bool,
    check: bool,
    no_write: bool,
) -> None:
    """Show the leaderboard of a data set and write it to leaderboards/."""
    from cellbench import paths
    from cellbench.ranking.row_cache import ranked_rows
    from cellbench.ranking.rows import PROTOCOLS
    from cellbench.records.store import datasets_with_records

    folder, *others = dict.fromkeys(paths.store(store) for store in stores or [None])
    for place in [folder, *others] if stores else []:
        if not place.is_dir():
            raise UserError(
                f"There is no folder {str(place)!r}; --store takes one that holds leaderboards/."
            )
    if protocol is not None and protocol not in PROTOCOLS:
        raise UserError(f"There is no protocol {protocol!r}; known are {', '.join(PROTOCOLS)}.")
    recorded = datasets_with_records(folder, *others)
    if dataset is not None:
        dataset = _known_set(dataset, recorded)
    if check:
        _check([folder, *others], recorded if dataset is None else [dataset])
        return
    rows, problems = ranked_rows(folder, dataset, others=others)
    for problem in problems:
        click.echo(f"cellbench: left out: {_clean(problem)}", err=True)
    asked = [row for row in rows if protocol is None or row.protocol == protocol]
    shown = [row for row in asked if everything or row.listed or protocol is not None]
    _print(form, shown + _published(folder, dataset, rows) if published else shown)
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
    from cellbench.ranking import tables

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

    from cellbench.ranking import tables
    from cellbench.ranking.rows import PUBLISHED

    console = Console(width=None if sys.stdout.isatty() else _UNLIMITED, highlight=False)
    papers = [row for row in rows if row.protocol == PUBLISHED]
    ours = [row for row in rows if row.protocol != PUBLISHED]
    pages = [list(page) for _, page in groupby(ours, key=lambda r: (r.dataset, r.protocol))]
    ownless = {row.dataset for row in papers} - {page[0].dataset for page in pages}
    pages += [[next(r for r in papers if r.dataset == name)] for name in sorted(ownless)]
    told: set[str] = set()
    for part in pages:
        dataset, protocol = tables.plain(part[0].dataset), tables.plain(part[0].protocol)
        beside = [] if dataset in told else [r for r in papers if r.dataset == dataset]
        part = [row for row in part if row.protocol != PUBLISHED] + beside
        if not part:
            continue
        told.add(dataset)
        title = f"{dataset}, " + ("published" if protocol == PUBLISHED else f"protocol {protocol}")
        laid = tables.lay_out(part, width=console.width)
        if len(part) > _MANY:
            click.echo(_aligned(title, laid, simulated=part[0].simulated))
            continue
        console.print(_rich_table(title, laid, part))
        for note in laid.notes:
            console.print(note, markup=False, soft_wrap=True)


def _rich_table(title: str, laid: "Layout", rows: Sequence["Row"]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    from cellbench.ranking.tables import SIMULATED

    table = Table(
        title=Text(title),
        caption=SIMULATED if rows[0].simulated else None,
        title_justify="left",
        caption_justify="left",
    )
    for column in laid.columns:
        table.add_column(
            column.title, justify="left" if column.left else "right", no_wrap=not column.left
        )
    for row, line in zip(rows, laid.lines, strict=True):
        table.add_row(*map(Text, line), style="bright_black" if row.source else None)
    return table


def _aligned(title: str, laid: "Layout", *, simulated: bool) -> str:
    """A long table as plain text."""
    from cellbench.ranking.tables import SIMULATED

    heads = [column.title for column in laid.columns]
    aligned = [
        "  ".join(
            text.ljust(width) if column.left else text.rjust(width)
            for text, width, column in zip(line, laid.widths, laid.columns, strict=True)
        ).rstrip()
        for line in [heads, *laid.lines]
    ]
    return "\n".join([title, *aligned, *([SIMULATED] if simulated else []), *laid.notes])


def _published(folder: "Path", dataset: str | None, rows: Sequence["Row"]) -> "list[Row]":
    """Published numbers of the set asked for, or of all that are shown."""
    from cellbench.ranking.published import published_file, read_published
    from cellbench.ranking.rows import published_rows

    shown = {dataset} if dataset else {row.dataset for row in rows}
    numbers = read_published(published_file(folder))
    return published_rows(n for n in numbers if n.dataset in shown or not shown)


def _check(stores: "Sequence[Path]", datasets: Sequence[str]) -> None:
    """Say what is wrong with the records and tables; exit code 1 if anything is."""
    from cellbench.ranking.audit import audit_set

    wrong = 0
    for dataset in datasets:
        audit = audit_set(stores[0], dataset, others=stores[1:])
        for finding in audit.findings:
            click.echo(f"wrong: {_clean(finding)}")
        for remark in audit.remarks:
            click.echo(f"note: {_clean(remark)}")
        wrong += len(audit.findings)
        checked = "1 record" if audit.records == 1 else f"{audit.records} records"
        verdict = "all is well" if not audit.findings else f"{len(audit.findings)} wrong"
        click.echo(f"{dataset}: {checked} checked, {verdict}.")
    if not datasets:
        click.echo("No record yet; there is nothing to check.")
    if wrong:
        raise SystemExit(1)


def _write(folder: "Path", rows: Sequence["Row"]) -> None:
    """The ranked rows of every set that was read, whatever was asked to be shown."""
    from cellbench.ranking.tables import write_tables

    for dataset, group in groupby(rows, key=lambda row: row.dataset):
        write_tables(folder, dataset, [row for row in group if row.listed])


def _clean(text: str) -> str:
    from cellbench.ranking.tables import plain

    return plain(text)
