"""The same tasks on Ray: a Ray of this machine, or a cluster's.

A node that sees the head's store (the same folder at the same path) works in it; any other works
in a store of its own and sends the record back through Ray. Ray starts a task again whose worker
or node is lost; on a shared folder, and on the same node, the run then goes on from its last
checkpoint.
"""

import os
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellbench.errors import UserError
from cellbench.files.writing import write_atomically
from cellbench.records.record_file import records_folder
from cellbench.sweeps.executors import Event, Executor
from cellbench.sweeps.process import End, Ending
from cellbench.sweeps.ray_work import NEWS_S, Board, import_ray, work
from cellbench.sweeps.reporting import Progress
from cellbench.sweeps.slots import cores
from cellbench.sweeps.task_files import LOG
from cellbench.sweeps.tasks import Task

# Workers and nodes that a run may lose before it counts as failed.
LOSSES = 3

# Without it Ray listens on the loopback address alone, on every system as on Windows: a Ray that
# other machines may reach is started with `ray start` and named. Read when Ray is imported.
_REACHABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

# To start a Ray on this machine: its parts wait for each other for some seconds only.
_TRIES = 3


class RayExecutor(Executor):
    """Tasks of a Ray, each with the cores and the share of a GPU that it is promised."""

    def __init__(
        self,
        store: Path,
        *,
        address: str | None = None,
        jobs: int | None = None,
        cpus_per_run: int | None = None,
        runs_per_gpu: int = 1,
        on_gpu: bool = True,
    ) -> None:
        """Connect.

        Args:
            store: the head's folder of runs and records.
            address: of a cluster, or "auto"; None starts a Ray on this machine.
            jobs: runs at once; by default as many as the resources allow.
            cpus_per_run: cores that Ray reserves; by default 1, and on this machine an equal
                share for each job.
            runs_per_gpu: how many share a GPU.
            on_gpu: whether to take GPUs where Ray has some.

        Raises:
            UserError: Ray is not installed or out of reach, or no node has room for one run.
        """
        if address is None:
            os.environ.setdefault(_REACHABLE, "0")
        self._ray = import_ray()
        with suppress(Exception):
            self._ray.shutdown()
        share = max(1, cores() // jobs) if address is None and jobs else 1
        self._cpus = cpus_per_run or share
        self._connect(address, most=max(cores(), (jobs or 1) * self._cpus))
        has_gpus = on_gpu and self._ray.cluster_resources().get("GPU", 0) > 0
        self._gpus = 1 / runs_per_gpu if has_gpus else 0.0
        self._jobs = jobs
        self._tasks: dict[Any, tuple[str, Task]] = {}
        self._news: dict[str, Progress] = {}
        self._asked_at = 0.0
        self._marker = _mark(store)
        self._board = self._ray.remote(Board).options(num_cpus=0, max_restarts=-1).remote()
        self._work = self._ray.remote(work)
        if self._room() == 0:
            self.close()
            raise UserError(
                f"No node of this Ray has room for a run ({self._cpus} cores, {self._gpus:g} "
                "GPUs); lower --cpus-per-run, or take --device cpu."
            )

    def free(self) -> int:
        """What the nodes that are there now have room for."""
        room = self._room()
        return max(0, min(room, self._jobs or room) - len(self._tasks))

    def start(self, key: str, task: Task) -> str:
        """Hand a task to Ray, which starts it again if its worker is lost."""
        remote = self._work.options(
            num_cpus=self._cpus, num_gpus=self._gpus, max_retries=LOSSES, name=task.label
        )
        found = remote.remote(task, key, self._board, self._marker)
        self._tasks[found] = (key, task)
        return "Ray"

    def wait(self, timeout_s: float) -> list[Event]:
        """Endings as soon as they come; news of the others about once a second."""
        events = []
        if not self._tasks:
            time.sleep(timeout_s)
            return []
        known = list(self._tasks)
        ready, _ = self._ray.wait(known, num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = self._ray.wait(known, num_returns=len(known), timeout=0)
        for found in ready:
            key, task = self._tasks.pop(found)
            self._news.pop(key, None)
            events.append(Event(key, self._ending(found, task)))
        return [*self._progress(), *events]

    def stop(self, *, at_once: bool = False) -> None:
        """Notify every worker through the board that it polls."""
        with suppress(Exception):
            self._ray.get(self._board.stop.remote(at_once), timeout=10)
        if at_once:
            for found in self._tasks:
                with suppress(Exception):
                    self._ray.cancel(found, force=True)

    def close(self) -> None:
        """Leave the Ray; one that was started here ends."""
        Path(self._marker[0]).unlink(missing_ok=True)
        with suppress(Exception):
            self._ray.shutdown()

    def _connect(self, address: str | None, *, most: int) -> None:
        """Join a cluster, or start a Ray here, which a busy machine may need more than one try for.

        Args:
            address: None for a Ray of this machine.
            most: cores that it promises.
        """
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address is None:
            os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
            options |= {"address": "local", "num_cpus": most, "include_dashboard": False}
        else:
            options |= {"address": address}
        tries = 1 if address else _TRIES
        for attempt in range(1, tries + 1):
            try:
                self._ray.init(**options)
                return
            except Exception as error:  # Ray has many ways not to be there
                if attempt < tries:
                    continue
                reason = " ".join(str(error).split())[:200]
                raise UserError(
                    f"There is no Ray at {address or 'this machine'} ({reason}); start one with "
                    "`ray start --head` and name it with --address, or take --executor local."
                ) from None

    def _room(self) -> int:
        """Runs that fit on the living nodes at once."""
        room = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                fits = int(has.get("CPU", 0) // self._cpus)
                if self._gpus:
                    fits = min(fits, int(has.get("GPU", 0) / self._gpus + 1e-9))
                room += fits
        return room

    def _progress(self) -> list[Event]:
        if time.monotonic() - self._asked_at < NEWS_S:
            return []
        self._asked_at = time.monotonic()
        try:
            news: dict[str, Progress] = self._ray.get(self._board.read.remote(), timeout=5)
        except Exception:  # the board comes back by itself, and news are no results
            return []
        running = {key for key, _ in self._tasks.values()}
        changed = {k: v for k, v in news.items() if k in running and self._news.get(k) != v}
        self._news |= changed
        return [Event(key, progress) for key, progress in changed.items()]

    def _ending(self, found: Any, task: Task) -> Ending:
        try:
            ending: Ending = self._ray.get(found)
        except self._ray.exceptions.TaskCancelledError:
            return Ending(End.STOPPED, 0.0, "it was stopped")
        except Exception as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return Ending(End.FAILED, 0.0, f"Ray lost it {LOSSES + 1} times ({said[:200]})")
        try:
            return _received(ending, task)
        except UserError as error:
            return replace(ending, end=End.FAILED, reason=str(error).rstrip("."))


def _mark(store: Path) -> tuple[str, str]:
    """A file by which a node detects whether it shares the head's store."""
    token = secrets.token_hex(8)
    path = store / "runs" / "sweeps" / f".head-{token}"
    write_atomically(path, token.encode())
    return str(path), token


def _received(ending: Ending, task: Task) -> Ending:
    """Put what a node sent into the head's store; the record last, since it vouches for the rest.

    Raises:
        UserError: the store cannot be written.
    """
    if not ending.files:
        return ending
    if ending.record is None:
        write_atomically(Path(task.folder) / LOG, ending.files[LOG])
        return replace(ending, files={})
    name = Path(ending.record).name
    folder = records_folder(Path(task.store)) / task.dataset
    for file in sorted(ending.files, key=lambda file: file == name):
        if not (folder / file).exists():
            write_atomically(folder / Path(file).name, ending.files[file])
    return replace(ending, record=str(folder / name), files={})
