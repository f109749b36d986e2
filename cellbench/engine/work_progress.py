"""How stretches of work other than training steps report how far they are."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

# Takes how much more of a task is done.
Advance = Callable[[float], None]

# From a label and a total to a context that yields the task's `Advance`.
Task = Callable[[str, float], AbstractContextManager[Advance]]


@contextmanager
def silent_task(label: str, total: float) -> Iterator[Advance]:
    """A task that is shown nowhere."""
    yield lambda done: None
