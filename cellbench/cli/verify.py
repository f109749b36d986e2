"""`cellbench verify`: score a record again and print what differs."""

from typing import TYPE_CHECKING, Any

import click

from cellbench.api.trained import verify
from cellbench.cli.docs import Documented

if TYPE_CHECKING:
    from rich.console import Console

    from cellbench.engine.verify import Verification

# Differences beyond this number are counted instead of listed.
_MOST = 20


@click.command(cls=Documented, function=verify)
@click.argument("record")
@click.option("--store", metavar="DIR")
@click.option("--device", default="auto", show_default=True)
@click.option("--train", is_flag=True)
@click.option("--trust-weights", is_flag=True)
def command(record: str, store: str | None, **options: Any) -> None:
    """Command of `cellbench.api.trained.verify`."""
    from rich.console import Console

    from cellbench.cli.progress import terminal_display
    from cellbench.records.trained_runs import find_record_file

    console = Console(highlight=False)
    found = verify(record, store=store, **options, display=terminal_display(console))
    _show(console, find_record_file(record, store).name, found)
    if not found.same:
        raise SystemExit(1)


def _show(console: "Console", name: str, found: "Verification") -> None:
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
        say(f"Same: {name} {how} gives what it says for all {found.images} images{mae}.")
        return
    if found.circumstances:
        say(f"What is not as it was: {'; '.join(found.circumstances)}.")
    number = f"{len(found.differing)} of {found.images} images"
    say(f"Not the same: {name} {how} gives otherwise for {number}{mae}.")
