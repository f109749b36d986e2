"""`cellbench verify`: a record, had again from its weights or by a new training."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

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
@click.option(
    "--trust-weights", is_flag=True, help="Score weights that are not the ones of the record."
)
def command(record: str, store: str | None, device: str, train: bool, trust_weights: bool) -> None:
    """Score the test part of RECORD (a file, or a run's id) again and say what differs.

    The weights in the run's folder are scored; where they are gone, the method is trained again.
    Exit code 0 if the record was had again, 1 if not.
    """
    # A damaged record is told before torch takes its seconds to load.
    from cellbench.records.record_file import read_record
    from cellbench.records.trained_runs import find_record_file, store_of

    path = find_record_file(record, store)
    read_record(path)

    from rich.console import Console

    from cellbench.cli.progress import terminal_display

    console = Console(highlight=False)
    with console.status("Loading torch"):
        from cellbench.engine.verify import verify_record
    found = verify_record(
        path,
        store_of(path, store),
        device=device,
        train=train,
        trust_weights=trust_weights,
        display=terminal_display(console),
    )
    _show(console, path, found)
    if not found.same:
        raise SystemExit(1)


def _show(console: "Console", path: Path, found: "Verification") -> None:
    from cellbench.ranking.tables import plain

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
