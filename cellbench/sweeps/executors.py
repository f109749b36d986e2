"""Where tasks run: the contract, and this machine."""

import queue
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cellbench.sweeps.fork_client import ForkServer
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
        """Ask every task to save its step and end; `wait` then returns them."""

    def after_out_of_memory(self, key: str) -> str | None:
        """Make room for a task that has failed for lack of GPU memory, so that it can start again.

        Returns:
            What has changed, for people; None where trying again is of no use.
        """
        return None

    def close(self) -> None:  # noqa: B027 (most have nothing to do)
        """Give back what the executor holds."""


# Starts of a task that fails for lack of memory, each with half as many others beside it.
_MEMORY_STARTS = 3


class LocalExecutor(Executor):
    """Processes of this machine, one a slot."""

    def __init__(self, slots: Sequence[Slot], *, server: ForkServer | None = None) -> None:
        """Take over the places.

        Args:
            slots: from `make_slots`.
            server: forks the processes; it is closed with the executor.
        """
        self._free = list(slots)
        # How many runs each GPU takes; it can become fewer than there are slots.
        self._most = dict(Counter(slot.gpu for slot in slots))
        self._running: dict[str, Slot] = {}
        self._starts: dict[str, _Start] = {}
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = Stop()
        self._server = server

    def free(self) -> int:
        """Slots without a task, as far as their GPU takes one more."""
        free = Counter(slot.gpu for slot in self._free)
        return sum(max(0, min(n, self._most[gpu] - self._busy(gpu))) for gpu, n in free.items())

    def start(self, key: str, task: Task) -> str:
        """Take a slot of the GPU that has the fewest runs."""
        usable = [slot for slot in self._free if self._busy(slot.gpu) < self._most[slot.gpu]]
        slot = min(usable or self._free, key=lambda slot: self._busy(slot.gpu))
        self._free.remove(slot)
        self._running[key] = slot
        before = self._starts.get(key)
        number = 1 if before is None else before.number + 1
        self._starts[key] = _Start(number, slot, self._most[slot.gpu])
        placed = replace(task, environment={**task.environment, **slot.environment})
        # Daemon: a thread that cannot end its process must not keep the sweep from ending.
        threading.Thread(target=self._run, args=(key, placed), daemon=True).start()
        return slot.name

    def wait(self, timeout_s: float) -> list[Event]:
        """All news that have come, the first of them waited for."""
        news: list[Event] = []
        try:
            news.append(self._events.get(timeout=timeout_s))
            while True:
                news.append(self._events.get_nowait())
        except queue.Empty:
            for event in news:
                if isinstance(event.news, Ending):
                    self._free.append(self._running.pop(event.key))
            return news

    def stop(self, *, at_once: bool = False) -> None:
        """Ask every process."""
        self._stop.asked.set()
        if at_once:
            self._stop.at_once.set()

    def after_out_of_memory(self, key: str) -> str | None:
        """Have half as many runs share the GPU of a task; see `Executor`."""
        start = self._starts[key]
        gpu = start.slot.gpu
        if not gpu or start.number >= (_MEMORY_STARTS if start.most > 1 else 2):
            return None
        # Of several that fail together, the first has halved the number for all.
        if self._most[gpu] == start.most:
            self._most[gpu] = max(1, start.most // 2)
        most = self._most[gpu]
        return f"from now on {most} run{'s' * (most != 1)} at a time on {start.slot.name}"

    def close(self) -> None:
        """End the server; runs that are left go on."""
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
        except Exception as error:  # a bug here must not lose the sweep
            ending = Ending(End.FAILED, 0.0, f"{type(error).__name__}: {error}")
        self._events.put(Event(key, ending))


@dataclass(frozen=True, slots=True)
class _Start:
    """Which start of a task, where, and how many runs its GPU took then."""

    number: int
    slot: Slot
    most: int
