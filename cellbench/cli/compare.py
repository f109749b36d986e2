"""`cellbench compare`: run a grid and print its tables; option types for lists of values."""

import re
import signal
import sys
from typing import Any

import click

from cellbench.api.grid_comparison import compare
from cellbench.cli.docs import Documented
from cellbench.cli.run import CountOrAuto, Duration
from cellbench.errors import RunError

# Width of a table, characters, where no terminal limits it.
_UNLIMITED = 200


class Numbers(click.ParamType):
    """Option type of whole numbers such as 0-4 or 0,2,3."""

    name = "numbers"

    def __init__(self, most: int | None = None) -> None:
        self.most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the numbers in ascending order, each once."""
        if isinstance(value, tuple):
            return value
        found: set[int] = set()
        for part in str(value).split(","):
            span = re.fullmatch(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?", part)
            if span is None or int(span[2] or span[1]) < int(span[1]):
                self.fail(f"{value!r} are no whole numbers; write 0-4 or 0,2,3.", param, ctx)
            found |= set(range(int(span[1]), int(span[2] or span[1]) + 1))
        if self.most is not None and max(found) > self.most:
            self.fail(f"{max(found)} is too much; they are 0 to {self.most}.", param, ctx)
        return tuple(sorted(found))


class Share(click.ParamType):
    """Option type of a share such as 2/4, the second of four."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return the index of the share, from 1, and the number of shares."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", value)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            self.fail(f"{value!r} is no share; write 2/4 for the second of four.", param, ctx)
        return int(found[1]), int(found[2])


class Names(click.ParamType):
    """Option type of names such as adi,vgg."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the names in the order given."""
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        if value and not names:
            self.fail(f"{value!r} names nothing; write adi,vgg.")
        return names


@click.command(cls=Documented, function=compare)
@click.argument("grid", default="components")
@click.option("--datasets", type=Names(), default="", metavar="SETS")
@click.option("--splits", type=Numbers(4), default=())
@click.option("--seeds", type=Numbers(), default=())
@click.option("--protocol", metavar="NAME")
@click.option("--epochs", type=click.IntRange(1))
@click.option("--budget", type=Duration())
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE")
@click.option("--slice", "share", type=Share(), metavar="I/N")
@click.option("--device", default="auto", show_default=True)
@click.option("--jobs", type=click.IntRange(1))
@click.option("--runs-per-gpu", type=CountOrAuto(1), default="auto", show_default=True)
@click.option("--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--address")
@click.option("--cpus-per-run", type=click.IntRange(1))
@click.option("--dry-run", is_flag=True)
@click.option("--retry-failed", is_flag=True)
@click.option("--no-wait", is_flag=True)
@click.option("--stall-timeout", type=Duration(), default="30m", show_default=True)
@click.option("--store", metavar="DIR")
def command(dry_run: bool, **options: Any) -> None:
    """Command of `cellbench.api.grid_comparison.compare`."""
    from rich.console import Console

    from cellbench.cli.plan_view import print_outcome
    from cellbench.cli.sweep_view import TerminalView
    from cellbench.sweeps.plan import State

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _UNLIMITED)
    # A cluster sends SIGTERM before it stops a machine; it is handled like Ctrl-C.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        outcome = compare(dry_run=dry_run, **options, view=TerminalView(console)).outcome
    finally:
        signal.signal(signal.SIGTERM, before)
    if dry_run:
        return
    print_outcome(console, outcome)
    failed = outcome.plan.in_state(State.FAILED)
    if failed:
        raise RunError(
            f"{len(failed)} of {len(outcome.plan.runs)} runs failed, for the reasons above; the "
            "same command with --retry-failed starts them again."
        )
