"""Progress of a run, in a terminal and in logs."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from cellbench.durations import exact_duration
from cellbench.engine.work_progress import Advance, Display

if TYPE_CHECKING:
    from cellbench.sweeps.reporting import ProgressFile

# Interval of progress lines where there is no terminal.
LINE_EVERY_S = 30.0


@dataclass
class RunProgress:
    """Progress bar with loss, validation MAE and time left; plain lines without a terminal.

    Attributes:
        console: console to draw on.
        total: number of steps of the run.
        effort: expected duration of the first n steps, as a function of n, in any unit.
        first: time and number of the first step shown.
        said_at: time of the last line.
        last_mae: validation MAE in the last line.
        bar: the bar while it is shown; None without a terminal.
        steps: id of the training's row in the bar.
    """

    console: Console
    total: int = 0
    effort: Callable[[int], float] = float
    first: tuple[float, int] | None = None
    said_at: float = 0.0
    last_mae: float | None = None
    bar: Progress | None = None
    steps: Any = None

    def start(self, iterations: int, effort: Callable[[int], float] = float) -> None:
        """Start the bar.

        Args:
            iterations: number of steps.
            effort: expected duration of the first n steps, as a function of n, in any unit.
        """
        self.total = iterations
        self.effort = effort
        self.first = None
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                TextColumn("{task.fields[left]}"),
                console=self.console,
            )
            self.steps = self.bar.add_task("training", total=iterations, numbers="", left="")
            self.bar.start()

    def step(self, done: int, loss: float, mae: float | None) -> None:
        """Show the number of steps done, the loss and the last validation MAE."""
        now = time.monotonic()
        if self.first is None:
            self.first = (now, done)
        if self.bar is not None:
            shown = "-" if mae is None else f"{mae:.2f}"
            left = self._left(now, done)
            numbers = f"loss {loss:.4f}  validation MAE {shown}"
            self.bar.update(self.steps, completed=done, numbers=numbers, left=left)
            return
        fresh_mae = mae is not None and mae != self.last_mae
        if fresh_mae or now - self.said_at >= LINE_EVERY_S or done == self.total:
            self.said_at, self.last_mae = now, mae
            shown = "" if mae is None else f"  validation MAE {mae:.2f}"
            left = self._left(now, done)
            self.console.print(f"step {done}/{self.total}  loss {loss:.4f}{shown}  {left}")

    def _left(self, now: float, done: int) -> str:
        """Return the time left: the expected one, scaled by the duration of the steps so far."""
        began, at = self.first or (now, done)
        known = self.effort(done) - self.effort(at)
        if known <= 0:
            return ""
        left_s = (now - began) / known * (self.effort(self.total) - self.effort(done))
        return f"{exact_duration(left_s)} left"

    @contextmanager
    def task(self, label: str, total: float) -> Iterator[Advance]:
        """Show other work than training steps, in a bar of its own or below that of the steps.

        Args:
            label: name of the work.
            total: its amount; 0 if unknown.

        Yields:
            A function that takes the amount done since its last call.
        """
        if self.bar is not None:
            bar = self.bar
            row = bar.add_task(label, total=total or None, numbers="", left="")
            try:
                yield lambda done: bar.advance(row, done)
            finally:
                bar.remove_task(row)
            return
        with work_progress(self.console, label, f"% of the {label}", total) as advance:
            yield advance

    def stop(self) -> None:
        """Stop the bar; also called if the training failed."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def terminal_display(console: Console) -> Display:
    """Return the display of `cellbench run`; silent in all but the first process of torchrun."""
    if os.environ.get("RANK", "0") != "0":
        return Display()
    progress = RunProgress(console)
    return Display(
        say=lambda text: console.print(text, soft_wrap=True, markup=False),
        status=console.status,
        start=progress.start,
        step=progress.step,
        stop=progress.stop,
        task=progress.task,
    )


def reported(display: Display, file: "ProgressFile") -> Display:
    """Return a display that also updates a progress file."""

    def say(text: str) -> None:
        display.say(text)
        file.update(now=True, said=text)

    def start(iterations: int, effort: Callable[[int], float]) -> None:
        display.start(iterations, effort)
        file.update(now=True, phase="training", steps=iterations)

    def step(done: int, loss: float, mae: float | None) -> None:
        display.step(done, loss, mae)
        file.update(step=done, loss=loss, validation_mae=mae)

    def stop() -> None:
        display.stop()
        file.update(now=True, phase="scoring")

    return replace(display, say=say, start=start, step=step, stop=stop)


def pictures_display(console: Console, say: Callable[[str], None]) -> Display:
    """Return the display of commands that process a folder of pictures.

    Args:
        console: console to draw on.
        say: function that prints a sentence.
    """
    return Display(
        say=say,
        status=console.status,
        task=lambda label, total: work_progress(console, label, "% of the pictures", total),
    )


@contextmanager
def work_progress(
    console: Console, label: str, unit: str, total: float
) -> Iterator[Callable[[float], None]]:
    """Show a progress bar with the time left; plain lines without a terminal.

    Args:
        console: console to draw on.
        label: text before the bar.
        unit: text after the number in a plain line.
        total: amount of work; 0 if unknown.

    Yields:
        A function that takes the amount done since its last call.
    """
    if console.is_terminal:
        with Progress(
            TextColumn(label),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        ) as bar:
            task = bar.add_task(label, total=total or None)
            yield lambda done: bar.advance(task, done)
        return
    began = printed_at = time.monotonic()
    done = 0.0

    def advance(more: float) -> None:
        nonlocal done, printed_at
        done += more
        now = time.monotonic()
        if now - printed_at >= LINE_EVERY_S and done and total:
            printed_at = now
            left = exact_duration(max(0.0, (now - began) / done * (total - done)))
            console.print(f"{min(100.0, 100 * done / total):.0f} {unit}  {left} left")

    yield advance


def row_table(record: Mapping[str, Any], *, width: int) -> Table:
    """Return a record as a table with one row, with as many columns as fit.

    Args:
        record: the record.
        width: width of a line, characters.
    """
    from cellbench.ranking.short_names import short_names
    from cellbench.ranking.statistics import record_interval

    metrics, timing = record["metrics"], record["timing"]
    mae, interval = record["selection"]["validation_mae"], record_interval(record)
    title = f"{record['dataset']}, protocol {record['protocol']}, {len(record['images'])} images"
    table = Table(title=Text(title))
    cells = {
        "method": short_names([record["method"]])[0],
        "split": str(record["split"]),
        "MAE": f"{metrics['mae']:.2f}",
        "95 %": "-" if interval is None else "–".join(f"{end:.1f}" for end in interval),
        "RMSE": f"{metrics['rmse']:.2f}",
        "F1": "-" if metrics.get("f1") is None else f"{metrics['f1']:.3f}",
        "validation MAE": "-" if mae is None else f"{mae:.2f}",
        # Methods that are not trained by steps have no selected step.
        "steps": str(record["iterations"]) if record["selection"]["step"] else "-",
        "training": exact_duration(timing["train_s"]),
        "images/s": f"{timing['images_per_s']:.1f}",
        "weights": record["weights"]["source"],
    }
    for name in ("weights", "images/s", "split", "steps", "training"):
        if sum(max(len(name), len(text)) + 3 for name, text in cells.items()) < width:
            break
        del cells[name]
    for name in cells:
        table.add_column(name, justify="left" if name in ("method", "weights") else "right")
    # As Text, since Rich would read the brackets around overrides in a method's name as markup.
    table.add_row(*map(Text, cells.values()))
    return table
