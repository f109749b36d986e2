"""The work of a Ray worker: one task, in the head's store where it is mounted, else in its own."""

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
from cellbench.sweeps.process import End, Ending, Stop, supervise
from cellbench.sweeps.reporting import Progress
from cellbench.sweeps.task_files import LOG
from cellbench.sweeps.tasks import Task

# How often a worker tells its news, and hears whether it is to stop.
NEWS_S = 1.0


class Board:
    """An actor that holds the latest news of every task, and the wish to stop."""

    def __init__(self) -> None:
        self._news: dict[str, Progress] = {}
        self._stop = (False, False)

    def put(self, key: str, progress: Progress) -> tuple[bool, bool]:
        """Take in news; whether to stop, and whether at once."""
        self._news[key] = progress
        return self._stop

    def read(self) -> dict[str, Progress]:
        """All news."""
        return self._news

    def stop(self, at_once: bool) -> None:
        """Have every task stop."""
        self._stop = (True, at_once)


def work(task: Task, key: str, board: Any, marker: tuple[str, str]) -> Ending:
    """Do one task on the node where Ray put it; runs in a Ray worker.

    Args:
        task: of the head, with the head's folders.
        key: under which the board knows it.
        board: handle of the `Board`.
        marker: a file of the head's store and its content.

    Returns:
        The ending; with the files of the record where the head cannot see them.
    """
    ray = import_ray()
    shared = _sees(marker)
    own = task if shared else _moved(task)
    stop = Stop()
    latest = Progress()
    endings: list[Ending] = []

    def show(progress: Progress) -> None:
        nonlocal latest
        latest = progress

    def look() -> None:
        with suppress(Exception):  # without its board a run goes on
            asked, at_once = ray.get(board.put.remote(key, latest), timeout=10)
            if asked:
                stop.asked.set()
            if at_once:
                stop.at_once.set()

    look()
    if stop.asked.is_set():
        return Ending(End.STOPPED, 0.0, "it was stopped")
    thread = threading.Thread(
        target=lambda: endings.append(supervise(own, stop=stop, show=show)), daemon=True
    )
    thread.start()
    while thread.is_alive():
        thread.join(NEWS_S)
        look()
    ending = endings[0] if endings else Ending(End.FAILED, 0.0, "its supervisor failed")
    return ending if shared else _packed(ending, own)


def import_ray() -> Any:
    """Ray, which is an extra.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise UserError(
            "Ray is not installed; pip install 'cellbench[ray]', or take --executor local."
        ) from None


def _sees(marker: tuple[str, str]) -> bool:
    try:
        return Path(marker[0]).read_text() == marker[1]
    except OSError:
        return False


def _moved(task: Task) -> Task:
    """The task in a store of this node's own, the same for every start of it."""
    name = hashlib.sha256(task.store.encode()).hexdigest()[:10]
    store = paths.home() / "ray" / name
    folder = store / Path(task.folder).relative_to(task.store)
    return replace(task, store=str(store), folder=str(folder))


def _packed(ending: Ending, task: Task) -> Ending:
    """With the files that the head has to have: the record's, or the end of the log."""
    if ending.record is None:
        host = host_id().partition(" ")[0]
        log = end_of(Path(task.folder) / LOG).encode()
        reason = f"{ending.reason} (on {host}, in {task.folder})"
        return replace(ending, reason=reason, files={LOG: log})
    record = Path(ending.record)
    files = {p.name: p.read_bytes() for p in record.parent.glob(f"{record.stem}.*")}
    return replace(ending, files=files)
