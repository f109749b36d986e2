"""`cellbench count`."""

from typing import TYPE_CHECKING

import click

from cellbench.api.counts import count
from cellbench.cli.docs import documented_by
from cellbench.cli.limits import max_file, max_picture
from cellbench.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from cellbench.counting.folder_count import FolderCount

PROGRAMS = ("napari", "qupath", "imagej", "cellcounter", "coco")
# More pictures than this are summed up in the terminal, not listed.
_MOST = 40


@documented_by(count)
@click.command()
@click.argument("pictures", nargs=-1, metavar="PICTURE...")
@click.option("--with", "run", metavar="RUN")
@click.option("--out", default="counts", show_default=True, metavar="DIR")
@click.option("--scale", type=click.FloatRange(0.05, 20.0), default=1.0, show_default=True)
@click.option("--um-per-px", type=click.FloatRange(0, min_open=True))
@click.option("--no-pictures", is_flag=True)
@click.option("--also", type=click.Choice(PROGRAMS), multiple=True)
@click.option("--device", default="auto", show_default=True)
@max_picture
@max_file
@click.option("--trust-weights", is_flag=True)
@click.option("--store", metavar="DIR")
def command(
    pictures: tuple[str, ...],
    run: str | None,
    out: str,
    scale: float,
    um_per_px: float | None,
    no_pictures: bool,
    also: tuple[str, ...],
    device: str,
    trust_weights: bool,
    store: str | None,
) -> None:
    """Command of `cellbench.api.counts.count`."""
    from rich.console import Console

    from cellbench.cli.progress import work_progress
    from cellbench.engine.work_progress import Display

    console = Console(highlight=False)
    display = Display(
        say=lambda text: console.print(text, markup=False, soft_wrap=True),
        status=console.status,
        task=lambda label, total: work_progress(console, label, "% of the pictures", total),
    )
    found = count(
        pictures,
        run,
        out=out,
        scale=scale,
        um_per_px=um_per_px,
        no_pictures=no_pictures,
        also=also,
        device=device,
        trust_weights=trust_weights,
        store=store,
        display=display,
    ).found
    _show(console, found)
    if found.refused:
        raise UserError(
            f"{len(found.refused)} of {found.given} pictures could not be counted; what was "
            f"counted is in {found.folder}. The first: {found.refused[0]}"
        )


def _show(console: "Console", found: "FolderCount") -> None:
    """The counts as a table, their sum, and how far off the method is on its own test part."""
    from rich.table import Table

    from cellbench.ranking.tables import plain
    from cellbench.records.expected_error import expected_error_text

    counted = found.counted
    dense = any(one.per_mm2 is not None for one in counted)
    if 0 < len(counted) <= _MOST:
        table = Table()
        table.add_column("picture", overflow="fold")
        table.add_column("cells", justify="right")
        if dense:
            table.add_column("cells/mm²", justify="right")
        for one in counted:
            density = [f"{one.per_mm2:.1f}"] if one.per_mm2 is not None else [""] if dense else []
            table.add_row(plain(one.image), f"{one.count:.1f}", *density)
        console.print(table)
    record = found.run.record
    noun = "picture" if len(counted) == 1 else "pictures"
    for sentence in (
        f"{sum(one.count for one in counted):.1f} cells in {len(counted)} {noun}.",
        f"{expected_error_text(record, found.run.weights.parent)}; on pictures unlike those it may "
        "be farther off.",
        f"Tables and pictures: {found.folder}",
    ):
        console.print(plain(sentence), markup=False, soft_wrap=True)
