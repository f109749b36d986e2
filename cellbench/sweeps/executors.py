"""Executors of tasks: the interface, and the executor of this machine."""

import queue
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cellbench.sweeps.fork_client import ForkServer
from cellbench.sweeps.process import Stop, TaskOutcome, TaskResult, supervise
from cellbench.sweeps.reporting import Progress
from cellbench.sweeps.slots import Slot
from cellbench.sweeps.tasks import Task


@dataclass(frozen=True, slots=True)
class Event:
    """New progress or the end of a task.

    Attributes:
        key: key with which it was started.
        news: its progress or its ending.
    """

    key: str
    news: Progress | TaskResult


class Executor(ABC):
    """Runs tasks, each in a process of its own, several at a time."""

    @abstractmethod
    def free(self) -> int:
        """Return the number of tasks that can start now."""

    @abstractmethod
    def start(self, key: str, task: Task) -> str:
        """Start a task without waiting; return the name of its place, for display."""

    @abstractmethod
    def wait(self, timeout_s: float) -> list[Event]:
        """Wait for events; return an empty list after the timeout."""

    @abstractmethod
    def stop(self, *, at_once: bool = False) -> None:
        """Ask every task to save its step and end; `wait` then returns them."""

    def after_out_of_memory(self, key: str) -> str | None:
        """Free GPU memory for a task that has failed for lack of it, before it is restarted.

        Returns:
            Description of the change, for display; None if a restart would not help.
        """
        return None

    def close(self) -> None:  # noqa: B027 (most have nothing to do)
        """Release the resources of the executor."""


# Most starts of a task that runs out of memory; each time half as many runs share its GPU.
_MEMORY_STARTS = 3


class LocalExecutor(Executor):
    """Executor that runs tasks as processes of this machine, one per slot."""

    def __init__(self, slots: Sequence[Slot], *, server: ForkServer | None = None) -> None:
        """Create the executor.

        Args:
            slots: from `make_slots`.
            server: forks the processes; it is closed with the executor.
        """
        self._free = list(slots)
        # Most runs per GPU; lack of memory can reduce it below the number of slots.
        self._most = dict(Counter(slot.gpu for slot in slots))
        self._running: dict[str, Slot] = {}
        self._starts: dict[str, _Start] = {}
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = Stop()
        self._server = server

    def free(self) -> int:
        """Count the free slots, limited by the most runs of their GPU."""
        free = Counter(slot.gpu for slot in self._free)
        return sum(max(0, min(n, self._most[gpu] - self._busy(gpu))) for gpu, n in free.items())

    def start(self, key: str, task: Task) -> str:
        """Start a task in a slot of the GPU that has the fewest runs."""
        usable = [slot for slot in self._free if self._busy(slot.gpu) < self._most[slot.gpu]]
        slot = min(usable or self._free, key=lambda slot: self._busy(slot.gpu))
        self._free.remove(slot)
        self._running[key] = slot
        before = self._starts.get(key)
        number = 1 if before is None else before.number + 1
        self._starts[key] = _Start(number, slot, self._most[slot.gpu])
        placed = replace(task, environment={**task.environment, **slot.environment})
        # Daemon, so that the sweep can end even if a thread cannot end its process.
        threading.Thread(target=self._run, args=(key, placed), daemon=True).start()
        return slot.name

    def wait(self, timeout_s: float) -> list[Event]:
        """Wait for the first event and return all that are queued."""
        news: list[Event] = []
        try:
            news.append(self._events.get(timeout=timeout_s))
            while True:
                news.append(self._events.get_nowait())
        except queue.Empty:
            for event in news:
                if isinstance(event.news, TaskResult):
                    self._free.append(self._running.pop(event.key))
            return news

    def stop(self, *, at_once: bool = False) -> None:
        """Ask every process to stop."""
        self._stop.asked.set()
        if at_once:
            self._stop.at_once.set()

    def after_out_of_memory(self, key: str) -> str | None:
        """Halve the number of runs that share the GPU of a task; see `Executor`."""
        start = self._starts[key]
        gpu = start.slot.gpu
        if not gpu or start.number >= (_MEMORY_STARTS if start.most > 1 else 2):
            return None
        # If several fail together, only the first halves the number.
        if self._most[gpu] == start.most:
            self._most[gpu] = max(1, start.most // 2)
        most = self._most[gpu]
        return f"from now on {most} run{'s' * (most != 1)} at a time on {start.slot.name}"

    def close(self) -> None:
        """End the server; remaining runs continue."""
        if self._server is not None:
            self._server.close()

    def _busy(self, gpu: str) -> int:
        return sum(slot.gpu == gpu for slot in self._running.values())

    def _run(self, key: str, task: Task) -> None:
        try:
            ending = supervise(
                task,
                stop=self._stop,
                show=lambda news: self._events.put(Event(key, news)),
                server=self._server,
            )
        except Exception as error:  # a bug here must not end the sweep
            ending = TaskResult(TaskOutcome.FAILED, 0.0, f"{type(error).__name__}: {error}")
        self._events.put(Event(key, ending))


@dataclass(frozen=True, slots=True)
class _Start:
    """A start of a task: its number, its slot, and the most runs of its GPU at that time."""

    number: int
    slot: Slot
    most: int
