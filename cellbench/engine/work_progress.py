"""Progress of a run: what a display is called with. Never imports torch."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

# Takes how much more of a task is done.
Advance = Callable[[float], None]

# From a label and a total to a context that yields the task's `Advance`.
Task = Callable[[str, float], AbstractContextManager[Advance]]

# Takes steps done, loss, last validation MAE.
Show = Callable[[int, float, float | None], None]


@contextmanager
def silent_task(label: str, total: float) -> Iterator[Advance]:
    """A task that is shown nowhere."""
    yield lambda done: None


@dataclass(frozen=True, slots=True)
class Display:
    """Where a run shows its progress; nowhere by default.

    Attributes:
        say: takes a sentence.
        status: takes what is done for some seconds, to a context.
        start: before training: takes the number of steps, and how long the first so many of them
            take, in any unit.
        step: after a step, see `Show`.
        stop: after training.
        task: other work: takes what it is and its total (images, seconds), to a context that
            yields an `Advance`.
    """

    say: Callable[[str], None] = lambda text: None
    status: Callable[[str], AbstractContextManager[object]] = nullcontext
    start: Callable[[int, Callable[[int], float]], None] = lambda iterations, effort: None
    step: Show = lambda done, loss, mae: None
    stop: Callable[[], None] = lambda: None
    task: Task = silent_task
