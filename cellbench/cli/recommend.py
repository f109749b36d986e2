"""`cellbench recommend`: cross-validate methods and print the recommended one."""

from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from cellbench.api.recommended import recommend
from cellbench.cli.docs import Documented
from cellbench.cli.run import Duration

if TYPE_CHECKING:
    from rich.console import Console

    from cellbench.recommending.recommendation import MethodResult, Recommendation


@click.command(cls=Documented, function=recommend)
@click.argument("name", metavar="SET")
@click.option("--budget", type=Duration(), default="30m", show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--store", metavar="DIR")
def command(**options: Any) -> None:
    """Command of `cellbench.api.recommended.recommend`."""
    from rich.console import Console

    console = Console(highlight=False)
    found = recommend(**options, say=lambda text: console.print(text, markup=False, soft_wrap=True))
    show_recommendation(console, found)


def show_recommendation(console: "Console", found: "Recommendation") -> None:
    """Print the methods with their errors, the recommended one, and how to count with it."""
    from rich.table import Table

    table = Table(title=f"{found.dataset}, cross-validated", title_justify="left")
    for heading, left in (("method", True), ("MAE", False), ("95 %", False), ("minutes", False),
                          ("", True)):  # fmt: skip
        table.add_column(heading, justify="left" if left else "right", overflow="fold")
    chosen = next(one for one in found.results if one.state == "recommended")
    error = chosen.error
    for one in found.results:
        table.add_row(*_cells(one, 0 if error is None else error.pictures))
    console.print(table)
    for one in found.results:
        if one.note:
            console.print(f"{one.name}: {one.note}", markup=False, soft_wrap=True)
    off = "" if error is None else f"{error.mae:.2f} cells off on average"
    if error is not None and error.low is not None:
        off += f" (95 %: {error.low:.2f} to {error.high:.2f})"
    lines = [
        f"{found.method} is the cheapest method within one standard error of the best: {off}, of "
        f"{found.mean_count:.1f} cells a picture.",
        f"{found.more_pictures} more annotated pictures would halve that interval"
        + ("." if found.curve else ", if its errors stayed as they are."),
        *(f"Its errors: {file}" for file in found.pictures[:3]),
        f"Your pictures: cellbench count PICTURE... --with {quote(str(found.folder))}",
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _cells(one: "MethodResult", pictures: int) -> tuple[str, ...]:
    """Return the row of a method; one that was tested on fewer than `pictures` states on how many.

    Few pictures may be easy ones: such an error cannot be compared with the others.
    """
    error, state = one.error, one.state
    if error is not None and error.pictures < pictures:
        state = f"{state}; on {error.pictures} of {pictures} pictures"
    interval = "" if error is None or error.low is None else f"{error.low:.2f} to {error.high:.2f}"
    return (
        one.name,
        "" if error is None else f"{error.mae:.2f}",
        interval,
        "" if one.minutes is None else f"{one.minutes:.1f}",
        state,
    )
