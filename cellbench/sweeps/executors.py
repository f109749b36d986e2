"""Where tasks run: the contract, and this machine."""

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cellbench.sweeps.process import End, Ending, Stop, supervise
from cellbench.sweeps.reporting import Progress
from cellbench.sweeps.slots import Slot
from cellbench.sweeps.tasks import Task


@dataclass(frozen=True, slots=True)
class Event:
    """What a task has come to.

    Attributes:
        key: under which it was started.
        news: how far it is, or how it ended.
    """

    key: str
    news: Progress | Ending


class Executor(ABC):
    """Runs tasks, each in a process of its own, several at a time."""

    @abstractmethod
    def free(self) -> int:
        """How many more tasks can start now."""

    @abstractmethod
    def start(self, key: str, task: Task) -> str:
        """Start a task and come back at once; the name of its place, for people."""

    @abstractmethod
    def wait(self, timeout_s: float) -> list[Event]:
        """What has happened; empty if nothing did for so long."""

    @abstractmethod
    def stop(self, *, at_once: bool = False) -> None:
        """Have every task save its step and end, which `wait` then tells."""

    def close(self) -> None:  # noqa: B027 (most have nothing to do)
        """Give back what the executor holds."""


class LocalExecutor(Executor):
    """Processes of this machine, one a slot."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        """Remember the places.

        Args:
            slots: from `make_slots`.
        """
        self._free = list(slots)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = Stop()

    def free(self) -> int:
        """Slots without a task."""
        return len(self._free)

    def start(self, key: str, task: Task) -> str:
        """Take the first free slot."""
        slot = self._free.pop(0)
        placed = replace(task, environment={**task.environment, **slot.environment})
        # Daemon: a thread that cannot end its process must not keep the sweep from ending.
        threading.Thread(target=self._run, args=(key, placed, slot), daemon=True).start()
        return slot.name

    def wait(self, timeout_s: float) -> list[Event]:
        """All news that have come, the first of them waited for."""
        news = []
        try:
            news.append(self._events.get(timeout=timeout_s))
            while True:
                news.append(self._events.get_nowait())
        except queue.Empty:
            return news

    def stop(self, *, at_once: bool = False) -> None:
        """Ask every process."""
        self._stop.asked.set()
        if at_once:
            self._stop.at_once.set()

    def _run(self, key: str, task: Task, slot: Slot) -> None:
        try:
            ending = supervise(
                task, stop=self._stop, show=lambda news: self._events.put(Event(key, news))
            )
        except Exception as error:  # a bug here must not lose the sweep
            ending = Ending(End.FAILED, 0.0, f"{type(error).__name__}: {error}")
        self._free.append(slot)
        self._events.put(Event(key, ending))
