"""Run a task in a Ray worker, in the head's store if it is mounted, else in the node's own."""

import hashlib
import importlib
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellbench import paths
from cellbench.errors import UserError
from cellbench.sweeps.claims import host_id
from cellbench.sweeps.failures import end_of
from cellbench.sweeps.process import Stop, TaskOutcome, TaskResult, supervise
from cellbench.sweeps.reporting import Progress
from cellbench.sweeps.task_files import LOG
from cellbench.sweeps.tasks import Task

# Interval at which a worker reports its progress and polls for a stop.
NEWS_S = 1.0


class ProgressBoard:
    """Ray actor that holds the latest progress of every task and the request to stop."""

    def __init__(self) -> None:
        self._news: dict[str, Progress] = {}
        self._stop = (False, False)

    def put(self, key: str, progress: Progress) -> tuple[bool, bool]:
        """Store the progress of a task; return whether to stop, and whether at once."""
        self._news[key] = progress
        return self._stop

    def read(self) -> dict[str, Progress]:
        """Return the progress of all tasks by key."""
        return self._news

    def stop(self, at_once: bool) -> None:
        """Request the stop of every task."""
        self._stop = (True, at_once)


def work(task: Task, key: str, board: Any, marker: tuple[str, str]) -> TaskResult:
    """Run a task on this node; called in a Ray worker.

    Args:
        task: task with the head's folders.
        key: its key on the board.
        board: handle of the `ProgressBoard`.
        marker: path and content of a file in the head's store.

    Returns:
        The ending; with the record's files if the head cannot see this node's store.
    """
    ray = import_ray()
    shared = _sees_head_store(marker)
    local_task = task if shared else _in_node_store(task)
    stop = Stop()
    latest = Progress()
    endings: list[TaskResult] = []

    def show(progress: Progress) -> None:
        nonlocal latest
        latest = progress

    def exchange() -> None:
        with suppress(Exception):  # without the board the run continues
            asked, at_once = ray.get(board.put.remote(key, latest), timeout=10)
            if asked:
                stop.asked.set()
            if at_once:
                stop.at_once.set()

    exchange()
    if stop.asked.is_set():
        return TaskResult(TaskOutcome.STOPPED, 0.0, "it was stopped")
    thread = threading.Thread(
        target=lambda: endings.append(supervise(local_task, stop=stop, show=show)), daemon=True
    )
    thread.start()
    while thread.is_alive():
        thread.join(NEWS_S)
        exchange()
    ending = endings[0] if endings else TaskResult(TaskOutcome.FAILED, 0.0, "its supervisor failed")
    return ending if shared else _with_files(ending, local_task)


def import_ray() -> Any:
    """Import Ray, an optional dependency.

    Raises:
        UserError: Ray is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise UserError(
            "Ray is not installed; pip install 'cellbench[ray]', or take --executor local."
        ) from None


def _sees_head_store(marker: tuple[str, str]) -> bool:
    try:
        return Path(marker[0]).read_text() == marker[1]
    except OSError:
        return False


def _in_node_store(task: Task) -> Task:
    """Move a task to a store of this node, the same one for every start of the task."""
    name = hashlib.sha256(task.store.encode()).hexdigest()[:10]
    store = paths.home() / "ray" / name
    folder = store / Path(task.folder).relative_to(task.store)
    return replace(task, store=str(store), folder=str(folder))


def _with_files(ending: TaskResult, task: Task) -> TaskResult:
    """Add the files for the head to an ending: the record's, or the end of the log."""
    if ending.record is None:
        host = host_id().partition(" ")[0]
        log = end_of(Path(task.folder) / LOG).encode()
        reason = f"{ending.reason} (on {host}, in {task.folder})"
        return replace(ending, reason=reason, files={LOG: log})
    record = Path(ending.record)
    files = {p.name: p.read_bytes() for p in record.parent.glob(f"{record.stem}.*")}
    return replace(ending, files=files)
