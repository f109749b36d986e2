"""`cellbench verify`: a record, had again from its weights or by a new training."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellbench.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from cellbench.engine.verify import Verification

# More differences than this are counted, not listed.
_MOST = 20


@click.command()
@click.argument("record")
@click.option("--store", metavar="DIR", help="Folder of runs/; the record's own by default.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--train", is_flag=True, help="Train again even if the weights are there.")
def command(record: str, store: str | None, device: str, train: bool) -> None:
    """Score the test part of RECORD (a file, or a run's id) again and say what differs.

    The weights in the run's folder are scored; where they are gone, the method is trained again.
    Exit code 0 if the record was had again, 1 if not.
    """
    path = _find(record, store)
    # A damaged record is told before torch takes its seconds to load.
    from cellbench.results.records import read_record

    read_record(path)

    from rich.console import Console

    from cellbench.cli.progress import terminal_display

    console = Console(highlight=False)
    with console.status("Loading torch"):
        from cellbench.engine.verify import verify_record
    found = verify_record(
        path, _store_of(path, store), device=device, train=train, display=terminal_display(console)
    )
    _show(console, path, found)
    if not found.same:
        raise SystemExit(1)


def _find(record: str, store: str | None) -> Path:
    from cellbench import paths
    from cellbench.results.records import find_record

    path = Path(record)
    if path.is_file():
        return path
    if len(record) >= 16 and set(record) <= set("0123456789abcdef"):
        known = find_record(paths.store(store), record)
        if known is not None:
            return known
    raise UserError(
        f"There is no record {record!r}; name a file in leaderboards/records, or a run's id."
    )


def _store_of(path: Path, store: str | None) -> Path:
    """The store that a record lies in, unless one is named."""
    from cellbench import paths

    whole = path.resolve()
    if store is None and whole.parts[-4:-2] == ("leaderboards", "records"):
        return whole.parents[3]
    return paths.store(store)


def _show(console: "Console", path: Path, found: "Verification") -> None:
    from cellbench.results.tables import plain

    def say(text: str) -> None:
        console.print(plain(text), markup=False, soft_wrap=True)

    for sentence in found.differences[:_MOST]:
        say(sentence)
    if len(found.differences) > _MOST:
        say(f"And {len(found.differences) - _MOST} more.")
    how = "trained again" if found.weights is None else "scored again"
    mae = "" if found.mae is None else f", MAE {found.mae:.2f}"
    if found.same:
        say(f"Same: {path.name} {how} gives what it says for all {found.images} images{mae}.")
        return
    if found.circumstances:
        say(f"What is not as it was: {'; '.join(found.circumstances)}.")
    number = f"{len(found.differing)} of {found.images} images"
    say(f"Not the same: {path.name} {how} gives otherwise for {number}{mae}.")
