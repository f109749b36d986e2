"""`cellbench run`."""

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellbench.errors import UserError

if TYPE_CHECKING:
    from cellbench.config.schema import ResolvedConfig
    from cellbench.engine.request import Outcome


_YEAR_S = 365 * 24 * 3600


class Duration(click.ParamType):
    """A length of time such as 90s, 10m or 1.5h; seconds as a number."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|min|h|)", str(value).strip())
        if found is None or float(found[1]) <= 0:
            self.fail(f"{value!r} is no length of time; write 90s, 10m or 1.5h.", param, ctx)
        seconds = float(found[1]) * {"s": 1, "": 1, "m": 60, "min": 60, "h": 3600}[found[2]]
        if seconds > _YEAR_S:
            self.fail(f"{value!r} is more than a year; write 90s, 10m or 1.5h.", param, ctx)
        return seconds


class CountOrAuto(click.ParamType):
    """A whole number, or auto, which is None."""

    name = "auto|N"

    def __init__(self, least: int) -> None:
        self.least = least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """The number."""
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


@click.command()
@click.argument("config")
@click.option("--dataset", metavar="SET", help="Use this data set instead of the config's.")
@click.option(
    "--split",
    type=click.IntRange(0, 4),
    default=0,
    show_default=True,
    help="Which split of the protocol.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of every draw.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training images.")
@click.option("--budget", type=Duration(), help="Fit the schedule to this time, such as 10m.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--protocol", default="v1", show_default=True, help="Splits and selection rule.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one key, such as model.matcher.type=Hungarian; may be repeated.",
)
@click.option("--strict", is_flag=True, help="Stop where the real data set is not on disk.")
@click.option(
    "--resume/--fresh",
    default=True,
    help="Go on where an interrupted run stopped (the default), or start it over.",
)
@click.option(
    "--no-test", is_flag=True, help="Leave the test part unread and write no record: for recipes."
)
@click.option(
    "--workers",
    type=CountOrAuto(0),
    default="auto",
    show_default=True,
    help="Loader processes; auto goes by device and cores, 0 is a thread.",
)
@click.option("--store", metavar="DIR", help="Folder of runs/ and leaderboards/.")
@click.option("--report", metavar="FILE", help="Keep this JSON file up to date, for programs.")
@click.option(
    "--with-parent", is_flag=True, help="Stop, with the step saved, when standard input closes."
)
def command(
    config: str,
    dataset: str | None,
    split: int,
    seed: int,
    epochs: int | None,
    budget: float | None,
    device: str,
    protocol: str,
    overrides: tuple[str, ...],
    strict: bool,
    resume: bool,
    no_test: bool,
    workers: int | None,
    store: str | None,
    report: str | None,
    with_parent: bool,
) -> None:
    """Train and score the method of CONFIG on one data set.

    A finished run shows its row; an interrupted one goes on where it stopped.
    """
    started = time.monotonic()  # a budget counts from here
    if epochs is not None and budget is not None:
        raise UserError("--epochs and --budget both fix the length of the run; give one of them.")
    from cellbench.sweeps.reporting import ProgressFile, stop_with_parent

    if with_parent:
        stop_with_parent()
    # A mistake is told, and a finished run shown, before torch takes its seconds to load.
    from rich.console import Console

    from cellbench.cli.progress import reported, terminal_display
    from cellbench.engine.request import Request, find_finished, find_run, resolve_request

    request = Request(
        config=config,
        dataset=dataset,
        split=split,
        seed=seed,
        epochs=epochs,
        budget_s=budget,
        device=device,
        protocol=protocol,
        overrides=overrides,
        strict=strict,
        no_test=no_test,
        resume=resume,
        workers=workers,
        store=store,
    )
    resolved = resolve_request(request)
    console = Console(highlight=False)
    if budget is not None and os.environ.get("RANK", "0") == "0":
        console.print(_announcement(resolved, split, budget), soft_wrap=True)
    display = terminal_display(console)
    if report is not None:
        file = ProgressFile(Path(report))
        display = reported(display, file)
    found = find_run(request, display.say, resolved)
    outcome = find_finished(found)
    if outcome is None:
        with console.status("Loading torch"):
            from cellbench.engine.run import run_found
        outcome = run_found(found, display, started)
    _show(console, outcome, no_test=no_test)
    if report is not None and outcome.record_file is not None:
        file.update(now=True, phase="done", record=str(outcome.record_file), fresh=outcome.fresh)


def _announcement(config: "ResolvedConfig", split: int, budget_s: float) -> str:
    """What a run with a budget does, before torch takes its seconds to load."""
    from cellbench.config.run_length import MEASURING, duration_text, trained_by_steps

    what = f"{config.method.name} on {config.data.set}, split {split}"
    if not trained_by_steps(config):
        return f"{what}: this method is not trained by steps, so that --budget changes nothing."
    return (
        f"{what}, in {duration_text(budget_s)}: PyTorch is loaded, the first steps are timed for "
        f"at most {duration_text(MEASURING * budget_s)}, and as many are trained as fit the rest."
    )


def _show(console: Any, outcome: "Outcome", *, no_test: bool) -> None:
    from cellbench.cli.progress import row_table
    from cellbench.records.trained_runs import RECORD

    if outcome.record is None:
        if no_test and outcome.validation_mae is not None:
            console.print(
                f"Validation MAE {outcome.validation_mae:.2f}; the test part is unread and no "
                f"record is written. The weights are in {outcome.folder}."
            )
        return
    if not outcome.fresh:
        console.print("This run is finished; here is its row.")
    console.print(row_table(outcome.record))
    console.print(f"Record: {outcome.record_file}", soft_wrap=True)
    console.print(f"Log, weights, pictures: {outcome.folder}", soft_wrap=True)
    if (outcome.folder / RECORD).is_file():  # a record may be here without the weights
        console.print(
            f"Your pictures: cellbench count PICTURE... --with {outcome.folder}", soft_wrap=True
        )
    sys.stdout.flush()
