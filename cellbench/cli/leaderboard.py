"""`cellbench leaderboard`: print, write and check the tables of records."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import click

from cellbench.api.listings import leaderboard
from cellbench.cli.docs import Documented
from cellbench.cli.limits import max_sidecar

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from cellbench.ranking.leaderboards import Leaderboard
    from cellbench.ranking.rows import Row
    from cellbench.ranking.tables import Layout

# Width of a table, characters, where no terminal limits it.
_UNLIMITED = 260
# With more rows than this tables are printed without Rich, which takes a millisecond per row.
_MANY = 40


@click.command(cls=Documented, function=leaderboard)
@click.option("--dataset", metavar="NAME")
@click.option("--protocol", metavar="NAME")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "md", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@click.option("--store", "stores", metavar="DIR", multiple=True)
@click.option("--all", "everything", is_flag=True)
@click.option("--published", is_flag=True)
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
    """Command of `cellbench.api.listings.leaderboard`."""
    from cellbench.ranking.leaderboards import find_leaderboard, find_stored_sets

    if check:
        places, dataset, recorded = find_stored_sets(stores, dataset)
        _check(places, recorded if dataset is None else [dataset])
        return
    found = find_leaderboard(dataset, protocol, everything, published, stores)
    for problem in found.problems:
        click.echo(f"cellbench: left out: {_clean(problem)}", err=True)
    if not found.shown:
        click.echo(_nothing(protocol, found), err=form != "table")
    _print(form, found.beside if form == "table" and found.beside else found.rows)
    if found.shown and found.left_out and form == "table":
        click.echo(f"{_rows(found.left_out)} not ranked: --all shows them, and why.")
    if form == "table":
        _print_errata(found)
    if not no_write:
        _write(found.stores[0], found.every_row)


def _print_errata(found: "Leaderboard") -> None:
    """Print the file of known faults if it lists any of the sets shown."""
    from cellbench.ranking.errata import ALL_SETS, FILE, read_errata

    try:
        known = read_errata(found.stores[0])
    except OSError as error:
        click.echo(f"cellbench: left out: leaderboards/{FILE} cannot be read ({error}).", err=True)
        return
    names = sorted({row.dataset for row in (*found.rows, *found.beside)} & known.keys())
    if names or (found.shown and ALL_SETS in known):
        of = f" of {', '.join(names)} and" if names else ""
        click.echo(f"Known faults{of} of records: leaderboards/{FILE}.")


def _nothing(protocol: str | None, found: "Leaderboard") -> str:
    """Return a sentence on why no row is shown, and how to get one."""
    from cellbench.data.stored_set import how_to_get, is_on_disk

    under = f" under protocol {protocol}" if protocol else ""
    of = f" of {found.dataset}" if found.dataset else ""
    if found.every_row and not protocol:
        rows = _rows(len(found.every_row))
        return f"No ranked row{of} yet, but {rows} not ranked: --all shows them."
    example = (found.dataset or "adi").removesuffix("-sim")
    others = [name for name in found.recorded if name != found.dataset]
    there = f" (there are records of {', '.join(map(_clean, others))})" if others else ""
    beside = [
        text
        for text, has in (
            ("numbers from papers", any(row.source for row in found.beside)),
            ("rows of its simulator", any(row.simulated for row in found.beside)),
        )
        if has
    ]
    below = f" Below are {' and, apart, '.join(beside)}." if beside else ""
    first = "" if is_on_disk(example) else f", after {how_to_get(example)}"
    return (
        f"No record{of}{under} yet{there}; `cellbench run methods/dla --dataset {example}` makes "
        f"one{first}.{below}"
    )


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
    from cellbench.ranking.leaderboards import pages

    console = Console(width=None if sys.stdout.isatty() else _UNLIMITED, highlight=False)
    for title, page in pages(rows):
        laid = tables.lay_out(page, width=console.width)
        if len(page) > _MANY:
            click.echo(_aligned(title, laid, simulated=page[0].simulated))
            continue
        console.print(_rich_table(title, laid, page))
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
    """Return a long table as plain text."""
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


def _check(stores: "Sequence[Path]", datasets: Sequence[str]) -> None:
    """Check records and tables, and print the findings; exit code 1 if there are any."""
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
    """Write the tables of all sets that were read, whichever rows were shown."""
    from cellbench import paths
    from cellbench.ranking.tables import write_tables

    for dataset, group in groupby(rows, key=lambda row: row.dataset):
        # Tables are published; sets of a user's own pictures are left out.
        if not (paths.data_folder(dataset) / paths.SET_CONFIG).is_file():
            write_tables(folder, dataset, [row for row in group if row.listed])


def _clean(text: str) -> str:
    from cellbench.ranking.tables import plain

    return plain(text)
