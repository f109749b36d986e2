"""`cellbench run`: train and score a method; option types for durations and numbers."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from cellbench.api.trained import run
from cellbench.cli.docs import Documented

if TYPE_CHECKING:
    from cellbench.api.trained import RunResult


_YEAR_S = 365 * 24 * 3600


class Duration(click.ParamType):
    """Option type of a duration such as 90s, 10m or 1.5h; a plain number is seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|min|h|)", str(value).strip())
        if found is None or float(found[1]) <= 0:
            self.fail(f"{value!r} is no length of time; write 90s, 10m or 1.5h.", param, ctx)
        seconds = float(found[1]) * {"s": 1, "": 1, "m": 60, "min": 60, "h": 3600}[found[2]]
        if seconds > _YEAR_S:
            self.fail(f"{value!r} is more than a year; write 90s, 10m or 1.5h.", param, ctx)
        return seconds


@dataclass
class CountOrAuto(click.ParamType):
    """Option type of a whole number of at least `least`, or auto, which is None."""

    name = "auto|N"
    least: int

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """Return the number; None for auto."""
        if value == "auto":
            return None
        text = str(value)
        if re.fullmatch(r"[0-9]{1,6}", text) is None or int(text) < self.least:
            self.fail(
                f"{value!r} is neither auto nor a whole number of at least {self.least}.",
                param,
                ctx,
            )
        return int(text)


@click.command(cls=Documented, function=run)
@click.argument("config")
@click.option("--dataset", metavar="SET")
@click.option("--split", type=click.IntRange(0, 4), default=0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1))
@click.option("--budget", type=Duration())
@click.option("--device", default="auto", show_default=True)
@click.option("--protocol", default="v1", show_default=True)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE")
@click.option("--strict", is_flag=True)
@click.option("--resume/--fresh", default=True)
@click.option("--no-test", is_flag=True)
@click.option("--workers", type=CountOrAuto(0), default="auto", show_default=True)
@click.option("--store", metavar="DIR")
@click.option("--report", metavar="FILE", help="Keep this JSON file up to date, for programs.")
@click.option(
    "--with-parent", is_flag=True, help="Stop, with the step saved, when standard input closes."
)
def command(report: str | None, with_parent: bool, no_test: bool, **options: Any) -> None:
    """Command of `cellbench.api.trained.run`."""
    from rich.console import Console

    from cellbench.cli.progress import reported, terminal_display
    from cellbench.errors import UserError
    from cellbench.sweeps.reporting import ProgressFile, stop_with_parent

    if with_parent:
        stop_with_parent()
    console = Console(highlight=False)
    display = terminal_display(console)
    if report is not None:
        if Path(report).is_dir() or not Path(report).absolute().parent.is_dir():
            raise UserError(f"--report is a file in a folder that is there, not {report!r}.")
        file = ProgressFile(Path(report))
        display = reported(display, file)
    outcome = run(**options, no_test=no_test, display=display)
    _show(console, outcome, no_test=no_test)
    if report is not None and outcome.record_file is not None:
        file.update(now=True, phase="done", record=str(outcome.record_file), fresh=outcome.fresh)


def _show(console: Any, outcome: "RunResult", *, no_test: bool) -> None:
    from cellbench.cli.progress import row_table
    from cellbench.records.run_files import RECORD

    if outcome.record is None:
        if no_test and outcome.validation_mae is not None:
            console.print(
                f"Validation MAE {outcome.validation_mae:.2f}; the test part is unread and no "
                f"record is written. The weights are in {outcome.folder}.",
                markup=False,
            )
        return
    if not outcome.fresh:
        console.print("This run is finished; here is its row.")
    console.print(row_table(outcome.record, width=console.width))
    console.print(f"Record: {outcome.record_file}", markup=False, soft_wrap=True)
    console.print(f"Log, weights, pictures: {outcome.folder}", markup=False, soft_wrap=True)
    if (outcome.folder / RECORD).is_file():  # a store may hold a record without the run's folder
        console.print(
            f"Your pictures: cellbench count PICTURE... --with {quote(str(outcome.folder))}",
            markup=False,
            soft_wrap=True,
        )
    sys.stdout.flush()
