"""Terminal and log progress of a run."""

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

from cellbench.engine.work_progress import Advance, Display

if TYPE_CHECKING:
    from cellbench.sweeps.reporting import ProgressFile

# Where there is no terminal, a line this often says that the run is alive.
LINE_EVERY_S = 30.0


@dataclass
class RunProgress:
    """A bar with loss, validation MAE and time left; plain lines where there is no terminal.

    Attributes:
        console: where to draw.
        total: steps of the run.
        effort: how long the first so many steps take, in any unit.
        first: moment and number of the first step that was shown.
        said_at: moment of the last line.
        last_mae: validation MAE in it.
        bar: on a terminal, while it is shown.
        steps: row of the steps in it.
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
        """Begin the bar.

        Args:
            iterations: steps.
            effort: how long the first so many steps take, in any unit.
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
        """Show one more step."""
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
        """The time left, scaled by how much longer than estimated the steps so far took."""
        began, at = self.first or (now, done)
        known = self.effort(done) - self.effort(at)
        if known <= 0:
            return ""
        return _minutes((now - began) / known * (self.effort(self.total) - self.effort(done)))

    @contextmanager
    def task(self, label: str, total: float) -> Iterator[Advance]:
        """Show other work than steps: a bar of its own, or one under that of the steps.

        Args:
            label: what is done.
            total: its amount; 0 where it is not known.

        Yields:
            What takes how much more is done.
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
        """End the bar, however the training ended."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def terminal_display(console: Console) -> Display:
    """The display of `cellbench run`; silent in all but the first process of torchrun."""
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
    """A display that also keeps a progress file up to date."""

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
    """The display of commands that go through a folder of pictures.

    Args:
        console: where to draw.
        say: takes sentences.
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
    """A bar over work of a known amount, with the time left; plain lines without a terminal.

    Args:
        console: where to draw.
        label: before the bar.
        unit: after the number of a plain line.
        total: amount of work.

    Yields:
        What takes how much more is done.
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
    began = said_at = time.monotonic()
    done = 0.0

    def advance(more: float) -> None:
        nonlocal done, said_at
        done += more
        now = time.monotonic()
        if now - said_at >= LINE_EVERY_S and done and total:
            said_at = now
            left = _minutes(max(0.0, (now - began) / done * (total - done)))
            console.print(f"{min(100.0, 100 * done / total):.0f} {unit}  {left}")

    yield advance


def _minutes(left_s: float) -> str:
    return f"{int(left_s // 60)}:{int(left_s % 60):02d} left"


def row_table(record: Mapping[str, Any], *, width: int) -> Table:
    """One record as a leaderboard row, of as many columns as there is room for.

    Args:
        record: as it was read.
        width: characters of a line.
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
        # A method that is not trained by steps has no step whose weights were chosen.
        "steps": str(record["iterations"]) if record["selection"]["step"] else "-",
        "training": f"{timing['train_s'] / 60:.1f} min",
        "images/s": f"{timing['images_per_s']:.1f}",
        "weights": record["weights"]["source"],
    }
    for name in ("weights", "images/s", "split", "steps", "training"):
        if sum(max(len(name), len(text)) + 3 for name, text in cells.items()) < width:
            break
        del cells[name]
    for name in cells:
        table.add_column(name, justify="left" if name in ("method", "weights") else "right")
    # As text: the changed keys in a method's name are in brackets, which is markup to Rich.
    table.add_row(*map(Text, cells.values()))
    return table
