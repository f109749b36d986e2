"""Progress callbacks of a run; never imports torch."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

# Receives the further amount of a task that is done.
Advance = Callable[[float], None]

# Returns, for a label and a total, a context that yields the task's `Advance`.
Task = Callable[[str, float], AbstractContextManager[Advance]]

# Receives steps done, loss, last validation MAE.
Show = Callable[[int, float, float | None], None]


@contextmanager
def silent_task(label: str, total: float) -> Iterator[Advance]:
    """Yield an `Advance` that shows nothing."""
    yield lambda done: None


@dataclass(frozen=True, slots=True)
class Display:
    """Callbacks that show the progress of a run; by default they show nothing.

    Attributes:
        say: receives a sentence.
        status: receives the name of work of some seconds; returns a context for it.
        start: before training: receives the number of steps, and a function from a number of first
            steps to their duration, in any unit.
        step: after a step, see `Show`.
        stop: after training.
        task: for other work: receives its name and total (images, seconds); returns a context that
            yields an `Advance`.
    """

    say: Callable[[str], None] = lambda text: None
    status: Callable[[str], AbstractContextManager[object]] = nullcontext
    start: Callable[[int, Callable[[int], float]], None] = lambda iterations, effort: None
    step: Show = lambda done, loss, mae: None
    stop: Callable[[], None] = lambda: None
    task: Task = silent_task
