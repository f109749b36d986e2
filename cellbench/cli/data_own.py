"""`cellbench data import NAME --own`: show a summary of a user's folder, then store the set."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from cellbench.api.own_folders import import_own
from cellbench.files.writing import write_atomically

if TYPE_CHECKING:
    from cellbench.data.own_sets.own_import import ImportPlan
    from cellbench.data.stored_set import StoredSet


def import_folder(
    name: str, source: Path, *, yes: bool, sheet: Path | None, **options: Any
) -> None:
    """Import a user's folder as a set, after a summary and a confirmation.

    Args:
        name: name of the set.
        source: folder of the pictures.
        yes: store it without a prompt; there is none either if input or output is no terminal.
        sheet: file of the contact sheet; `NAME-sheet.png` by default.
        options: arguments of `import_own`.
    """
    console = Console(highlight=False)

    def confirm(folder: "ImportPlan") -> bool:
        _show(console, folder, sheet or Path(f"{name}-sheet.png"))
        if yes or not (sys.stdin.isatty() and console.is_terminal):
            return True
        return click.confirm("Keep it?", default=True)

    stored = import_own(name, source, confirm=confirm, **options)
    if stored is None:
        click.echo("Nothing was kept.")
        return
    console.print(f"Kept in {stored.folder}", soft_wrap=True, markup=False)
    console.print(_next_step(stored), soft_wrap=True, markup=False)


def _next_step(stored: "StoredSet") -> str:
    """Return the command for a set, or why it cannot be divided into the parts that one needs."""
    from cellbench.data.splits import FOLDS, make_split
    from cellbench.errors import UserError

    try:
        make_split(stored, protocol=FOLDS)
    except UserError as error:
        return f"Too few for `run` and `recommend`: {error}"
    return f"Next: cellbench recommend {stored.name}"


def _show(console: Console, folder: "ImportPlan", sheet: Path) -> None:
    import numpy as np

    from cellbench.data.own_sets.contact_sheet import sheet_png
    from cellbench.ranking.tables import plain

    counts, facts = np.array(folder.counts), folder.facts
    groups = folder.groups
    many = "1 picture" if len(counts) == 1 else f"{len(counts)} pictures"
    lines = [
        f"{folder.name}: {many}, {counts.sum()} cells ({counts.min()} to {counts.max()} a picture, "
        f"{counts.mean():.1f} on average)",
        f"annotation: {', '.join(facts.formats)}",
        "groups: " + (f"{groups}" if groups else "none, each picture is its own"),
    ]
    if facts.spacing_px is not None:
        length = facts.spacing_px * (facts.um_per_px or 0)
        lines.append(
            f"spacing: {facts.spacing_px:.1f} px between neighbouring cells"
            + (f" ({length:.1f} µm)" if length else "")
            + f"; match radius {folder.measured.radius_px:g} px"
        )
    if facts.counts_only:
        lines.append("counts only: methods that need places cannot learn from it")
    write_atomically(sheet, sheet_png(folder), elsewhere="--sheet")
    lines.append(f"pictures with their cells: {sheet}")
    for line in (*lines, *(f"note: {note}" for note in folder.notes)):
        console.print(plain(line), markup=False, soft_wrap=True)
