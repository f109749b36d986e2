"""`cellbench data`: commands list, import and verify; fetch and show are in other modules."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from cellbench.api.listings import datasets
from cellbench.api.own_folders import import_own
from cellbench.cli.docs import Documented
from cellbench.cli.limits import EDGE_UM, max_annotation, max_file, max_picture, max_points
from cellbench.errors import UserError

# Subcommand -> (module under cellbench.cli, one-line help shown without importing it).
_ELSEWHERE = {
    "fetch": ("data_fetch", "Download a data set, check it and import it."),
    "show": ("data_show", "Draw contact sheets of a data set with its dots on."),
}


class _Group(click.Group):
    """Group of the commands here, and of others whose modules are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["list", "import", "fetch", "verify", "show"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f"cellbench.cli.{_ELSEWHERE[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            here = self.commands.get(name)
            rows.append((name, here.get_short_help_str(80) if here else _ELSEWHERE[name][1]))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(name="data", cls=_Group)
def command() -> None:
    """List, import, fetch, verify and show data sets."""


@command.command("list", cls=Documented, function=datasets)
@click.option("--json", "as_json", is_flag=True, help="A JSON list for other programs.")
def list_command(as_json: bool) -> None:
    """Command of `cellbench.api.listings.datasets`."""
    from cellbench.data.listing import UNSTATED, list_sets

    rows = list_sets()
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    from cellbench import paths

    table = Table(title=f"Data sets in {paths.home() / 'data'}", title_justify="left")
    for heading in ("set", "images", "cells/image", "on disk", "stand-in", "licence"):
        right = heading in ("images", "cells/image", "on disk")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        cells = (
            "" if row.cells_per_image is None else "{:.1f} ± {:.1f}".format(*row.cells_per_image)
        )
        on_disk = "no" if row.on_disk is None else f"{row.on_disk}"
        table.add_row(
            row.set, f"{row.images or ''}", cells, on_disk, row.simulator or "", row.licence
        )
    console = Console()
    console.print(table)
    for row in rows:
        if row.to_do:  # below the table and unbroken, to be copied
            console.print(f"{row.set}: {row.to_do}", soft_wrap=True, markup=False, highlight=False)
    if any(row.licence == UNSTATED for row in rows):
        console.print("Where no licence is stated, do not pass the images on.", highlight=False)


@command.command("import", cls=Documented, function=import_own, own_text=True)
@click.argument("name", metavar="SET")
@click.option(
    "--from", "source", required=True, metavar="DIR", type=click.Path(path_type=Path),
    help="Folder of the raw copy, or its parent.",
)  # fmt: skip
@click.option(
    "--own",
    is_flag=True,
    help="A set of your own pictures, with annotations in any of the formats that cellbench reads.",
)
@click.option("--annotations", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--group", metavar="PATTERN|COLUMN")
@click.option("--um-per-px", type=EDGE_UM)
@click.option("--channel", metavar="N|NAME")
@click.option("--page", metavar="N|Z=N,T=N")
@click.option("--project", type=click.Choice(["max", "mean", "min", "median"]))
@click.option("--skip-bare", is_flag=True)
@click.option(
    "--sheet",
    metavar="FILE.png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Of your own pictures with their cells marked.  [default: SET-sheet.png]",
)
@click.option("--yes", is_flag=True, help="Keep your own set without asking.")
@click.option("--force", is_flag=True, help="Replace the set if it is on disk already.")
@max_picture
@max_file
@max_points
@max_annotation
def import_command(
    name: str, source: Path, force: bool, own: bool, yes: bool, sheet: Path | None, **options: Any
) -> None:
    """Take a data set from a raw copy, as its authors distribute it, or make one of your own.

    With --own a folder of pictures and its annotations become a set that every command takes by
    its name. What was read is shown before anything is stored.
    """
    if own:
        from cellbench.cli.data_own import import_folder

        with _bar(f"reading {source}") as progress:
            import_folder(
                name, source, yes=yes, sheet=sheet, force=force, progress=progress, **options
            )
        return
    given = [key for key, value in options.items() if value]
    if given:
        raise UserError(f"--{given[0].replace('_', '-')} is for a set of your own; add --own.")
    from cellbench.data.importing import import_set

    with _bar(f"importing {name}") as progress:
        report = import_set(name, source, force=force, progress=progress)
    console = Console()
    console.print(
        f"[bold]{name}[/]: {report.images} images, {report.mean:.1f} ± {report.sd:.1f} cells an "
        f"image, in {report.stored.folder}",
        highlight=False,
    )
    for note in report.notes:
        console.print(f"  {note}", highlight=False, markup=False)


@command.command("verify")
@click.argument("name", metavar="[SET]", required=False)
def verify_command(name: str | None) -> None:
    """Compare every file of a set, or of all sets on disk, with its manifest.

    Then look for pictures that are there twice, also turned, mirrored, recompressed or brightened,
    in these sets. Exit code 1 if a file is damaged, or a picture of a training or validation part
    is in the test part too.
    """
    from cellbench.data.duplicates import find_duplicates
    from cellbench.data.named_dataset import find_dataset
    from cellbench.data.set_damage import Damage, verify_set
    from cellbench.data.stored_set import open_set, sets_on_disk

    console = Console()
    names = sets_on_disk() if name is None else [name]
    if not names:
        console.print("No data set is on disk; `cellbench data list` says how to get them.")
        return
    table = Table()
    for heading in ("set", "images", "file", "state"):
        table.add_column(heading, overflow="fold")
    damaged = False
    whole = []
    for each in names:
        try:
            stored = open_set(each)
        except UserError as error:
            if name is not None:
                find_dataset(name)  # reports an unknown name before a missing set
                raise
            table.add_row(each, "", "manifest.json", Text(str(error)), style="red")
            damaged = True
            continue
        with _bar(f"verifying {each}") as progress:
            damages: list[Damage] = verify_set(stored, progress)
        for damage in damages:
            table.add_row(each, f"{len(stored)}", Text(damage.path), Text(damage.what), style="red")
        if not damages:
            table.add_row(each, f"{len(stored)}", "all files", "as imported")
            whole.append(stored)
        damaged = damaged or bool(damages)
    console.print(table)
    if damaged:
        console.print("Import or fetch a damaged set again with --force.")
    with _bar("looking for pictures that are there twice") as progress:
        pairs = find_duplicates(whole, progress)
    for pair in pairs:
        (set_1, image_1), (set_2, image_2) = pair.first, pair.second
        leak = ", ".join(map(str, pair.splits))
        console.print(
            f"{set_1} {image_1} and {set_2} {image_2} show the same picture"
            + (f"; in split {leak} only one of them is in the test part." if leak else "."),
            soft_wrap=True, highlight=False, markup=False,
        )  # fmt: skip
    if whole and not pairs:
        console.print("No picture is there twice.")
    if damaged or any(pair.splits for pair in pairs):
        sys.exit(1)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a transient progress bar on standard error; yield its update function."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
