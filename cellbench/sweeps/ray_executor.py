"""Executor of tasks on Ray, on this machine or a cluster.

A node that sees the head's store (the same folder at the same path) works in it; any other works
in its own store and returns the record through Ray. Ray restarts a task whose worker or node is
lost; on a shared folder, or on the same node, the run then resumes from its last checkpoint.
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
from cellbench.sweeps.process import TaskOutcome, TaskResult
from cellbench.sweeps.ray_work import NEWS_S, ProgressBoard, import_ray, work
from cellbench.sweeps.reporting import Progress
from cellbench.sweeps.slots import cores
from cellbench.sweeps.task_files import LOG
from cellbench.sweeps.tasks import Task

# Most losses of a worker or node per run; with one more the run counts as failed.
LOSSES = 3

# With 0 Ray listens only on the loopback address, on every system: a Ray that other machines may
# reach is started with `ray start` and given by address. Read when Ray is imported.
_CLUSTER_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

# Attempts to start a Ray on this machine, whose processes wait only seconds for each other.
_ATTEMPTS = 3


class RayExecutor(Executor):
    """Executor that runs tasks on Ray, each with reserved cores and a share of a GPU."""

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
        """Connect to Ray, or start it.

        Args:
            store: the head's folder of runs and records.
            address: address of a cluster, or "auto"; None starts a Ray on this machine.
            jobs: concurrent runs; None for as many as the resources allow.
            cpus_per_run: cores reserved for a run; None for 1, or with `jobs` on this machine an
                equal share of its cores.
            runs_per_gpu: number of runs that share a GPU.
            on_gpu: whether to use the GPUs that Ray has.

        Raises:
            UserError: Ray is not installed or not reachable, or no node has room for one run.
        """
        if address is None:
            os.environ.setdefault(_CLUSTER_VARIABLE, "0")
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
        self._polled_at = 0.0
        self._marker = _write_marker(store)
        self._board = self._ray.remote(ProgressBoard).options(num_cpus=0, max_restarts=-1).remote()
        self._work = self._ray.remote(work)
        if self._room() == 0:
            self.close()
            raise UserError(
                f"No node of this Ray has room for a run ({self._cpus} cores, {self._gpus:g} "
                "GPUs); lower --cpus-per-run, or take --device cpu."
            )

    def free(self) -> int:
        """Return the number of tasks that the living nodes have room for now."""
        room = self._room()
        return max(0, min(room, self._jobs or room) - len(self._tasks))

    def start(self, key: str, task: Task) -> str:
        """Submit a task to Ray, which restarts it if its worker is lost."""
        remote = self._work.options(
            num_cpus=self._cpus, num_gpus=self._gpus, max_retries=LOSSES, name=task.label
        )
        reference = remote.remote(task, key, self._board, self._marker)
        self._tasks[reference] = (key, task)
        return "Ray"

    def wait(self, timeout_s: float) -> list[Event]:
        """Return endings as soon as there are any, and new progress about once a second."""
        events = []
        if not self._tasks:
            time.sleep(timeout_s)
            return []
        running = list(self._tasks)
        ready, _ = self._ray.wait(running, num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = self._ray.wait(running, num_returns=len(running), timeout=0)
        for reference in ready:
            key, task = self._tasks.pop(reference)
            self._news.pop(key, None)
            events.append(Event(key, self._ending(reference, task)))
        return [*self._progress(), *events]

    def stop(self, *, at_once: bool = False) -> None:
        """Notify every worker through the board that it polls."""
        with suppress(Exception):
            self._ray.get(self._board.stop.remote(at_once), timeout=10)
        if at_once:
            for reference in self._tasks:
                with suppress(Exception):
                    self._ray.cancel(reference, force=True)

    def close(self) -> None:
        """Disconnect; a Ray that was started here ends."""
        Path(self._marker[0]).unlink(missing_ok=True)
        with suppress(Exception):
            self._ray.shutdown()

    def _connect(self, address: str | None, *, most: int) -> None:
        """Connect to a cluster, or start Ray here, with more attempts in case the machine is busy.

        Args:
            address: address of a cluster; None for a Ray of this machine.
            most: number of cores that a Ray of this machine offers.
        """
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address is None:
            os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
            options |= {"address": "local", "num_cpus": most, "include_dashboard": False}
        else:
            options |= {"address": address}
        attempts = 1 if address else _ATTEMPTS
        for attempt in range(1, attempts + 1):
            try:
                self._ray.init(**options)
                return
            except Exception as error:  # Ray raises many types of errors
                if attempt < attempts:
                    continue
                reason = " ".join(str(error).split())[:200]
                raise UserError(
                    f"There is no Ray at {address or 'this machine'} ({reason}); start one with "
                    "`ray start --head` and name it with --address, or take --executor local."
                ) from None

    def _room(self) -> int:
        """Return the number of runs that fit on the living nodes at once."""
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
        if time.monotonic() - self._polled_at < NEWS_S:
            return []
        self._polled_at = time.monotonic()
        try:
            news: dict[str, Progress] = self._ray.get(self._board.read.remote(), timeout=5)
        except Exception:  # Ray restarts the board, and progress may be lost
            return []
        running = {key for key, _ in self._tasks.values()}
        changed = {k: v for k, v in news.items() if k in running and self._news.get(k) != v}
        self._news |= changed
        return [Event(key, progress) for key, progress in changed.items()]

    def _ending(self, reference: Any, task: Task) -> TaskResult:
        try:
            ending: TaskResult = self._ray.get(reference)
        except self._ray.exceptions.TaskCancelledError:
            return TaskResult(TaskOutcome.STOPPED, 0.0, "it was stopped")
        except Exception as error:
            message = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return TaskResult(
                TaskOutcome.FAILED, 0.0, f"Ray lost it {LOSSES + 1} times ({message[:200]})"
            )
        try:
            return _store_files(ending, task)
        except UserError as error:
            return replace(ending, end=TaskOutcome.FAILED, reason=str(error).rstrip("."))


def _write_marker(store: Path) -> tuple[str, str]:
    """Write a file by which nodes detect whether they share the store; return path and content."""
    token = secrets.token_hex(8)
    path = store / "runs" / "sweeps" / f".head-{token}"
    write_atomically(path, token.encode())
    return str(path), token


def _store_files(ending: TaskResult, task: Task) -> TaskResult:
    """Write the files that a node sent to the head's store, the record last: it implies the others.

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
