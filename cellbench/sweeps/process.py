"""Supervise the process of a run: start it, detect hangs, and determine how it ended."""

import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import IO

from cellbench.durations import rough_duration
from cellbench.errors import UserError
from cellbench.files.reading import read_fields
from cellbench.files.writing import explained_writing
from cellbench.sweeps.claims import host_id, process_start
from cellbench.sweeps.failures import end_of, ran_out_of_memory, reason_for
from cellbench.sweeps.fork_client import LOST, ForkServer
from cellbench.sweeps.launch import RunProcess, launch
from cellbench.sweeps.pulse import HangMonitor
from cellbench.sweeps.reporting import GRACE_S, Progress, read_progress
from cellbench.sweeps.task_files import CONFIG, LOG, PROGRESS
from cellbench.sweeps.tasks import Task

_POLL_S = 0.5

# Exit codes of a process that was asked to stop, by its supervisor or anyone else.
_STOPPED = (130, -signal.SIGINT, -signal.SIGTERM)


class TaskOutcome(Enum):
    """How a process ended."""

    DONE = "done"
    FAILED = "failed"
    HUNG = "hung"
    STOPPED = "stopped"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """Result of a task.

    Attributes:
        end: how its process ended.
        seconds: duration.
        reason: half a sentence if it is not done.
        record: file of the record if it is done.
        files: for a head that cannot see the store, the content by name of the record's files, or
            of the log's end if there is no record.
        out_of_memory: whether it failed for lack of memory.
    """

    end: TaskOutcome
    seconds: float
    reason: str = ""
    record: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class _Child:
    """The process of a run, saved for `end_orphan`; see `claims.Holder` for the fields."""

    pid: int
    started: str
    place: str


class Stop:
    """Request to stop all tasks: after the current step, or at once."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.at_once = threading.Event()


def supervise(
    task: Task,
    *,
    stop: Stop,
    show: Callable[[Progress], None] = lambda progress: None,
    server: ForkServer | None = None,
) -> TaskResult:
    """Run a task in a process and wait for its end.

    Args:
        task: the task.
        stop: polled; once it is set, the process saves its step and ends.
        show: receives the progress whenever it has changed.
        server: forks the process; if it is None or gone, a new interpreter is started.

    Returns:
        Its result; errors of the task are part of it and are not raised.
    """
    began = time.monotonic()
    folder = Path(task.folder)
    try:
        with explained_writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            end_orphan(folder)
            (folder / CONFIG).write_text(task.config, encoding="utf-8")
            (folder / PROGRESS).unlink(missing_ok=True)
            log = (folder / LOG).open("ab")
        with log:
            for source in (server, None):
                process = _start(task, folder, log, stop, source)
                try:
                    end, reason = _watch(process, task, folder, stop, show)
                finally:
                    _terminate(process, grace_s=0.0)
                if (
                    end is not TaskOutcome.LOST
                    or _record(folder) is not None
                    or stop.asked.is_set()
                ):
                    break
                # Restart without the server, from the checkpoint, to learn how the run ends.
    except (OSError, UserError) as error:
        return TaskResult(TaskOutcome.FAILED, time.monotonic() - began, str(error).rstrip("."))
    seconds = time.monotonic() - began
    record = _record(folder)
    if end is TaskOutcome.LOST:
        end = TaskOutcome.STOPPED if record is None else TaskOutcome.DONE
    if end is not TaskOutcome.DONE:
        memory = end is TaskOutcome.FAILED and ran_out_of_memory(reason)
        return TaskResult(end, seconds, reason, out_of_memory=memory)
    if record is None:
        return TaskResult(TaskOutcome.FAILED, seconds, "its process ended well but left no record")
    return TaskResult(TaskOutcome.DONE, seconds, record=record)


def _record(folder: Path) -> str | None:
    """Return the record file that a run reports, if it exists."""
    last = read_progress(folder / PROGRESS)
    if last is None or last.record is None or not Path(last.record).is_file():
        return None
    return last.record


def end_orphan(folder: Path) -> None:
    """End the process that an earlier sweep left running, with time to save its step."""
    try:
        child = read_fields(folder / "child.json", _Child)
    except (OSError, ValueError):
        return
    pid = child.pid

    def is_alive() -> bool:
        local = child.place == host_id() and bool(child.started)
        return local and process_start(pid) == child.started

    for number, grace_s in ((signal.SIGINT, GRACE_S), (signal.SIGKILL, 5.0)):
        if not is_alive():
            return
        with suppress(OSError):
            os.kill(pid, number)
        deadline = time.monotonic() + grace_s
        while is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)


def _start(
    task: Task, folder: Path, log: IO[bytes], stop: Stop, server: ForkServer | None
) -> RunProcess:
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    log.write(
        f"--- {moment} {host_id().partition(' ')[0]}: {' '.join(task.arguments())}\n".encode()
    )
    log.flush()
    process = launch(task, log, server=server, cancelled=stop.asked.is_set)
    child = _Child(process.pid, process_start(process.pid), host_id())
    (folder / "child.json").write_text(json.dumps(asdict(child)))
    return process


def _watch(
    process: RunProcess,
    task: Task,
    folder: Path,
    stop: Stop,
    show: Callable[[Progress], None],
) -> tuple[TaskOutcome, str]:
    pulse = HangMonitor(process.pid, folder, timeout_s=task.stall_timeout_s)
    while True:
        if _ends_within(process, _POLL_S):
            return _classify_exit(process.wait(), pulse.log)
        if stop.asked.is_set():
            _terminate(process, grace_s=2 * GRACE_S, stop=stop)
            if process.returncode == 0:  # done before the request arrived
                return TaskOutcome.DONE, ""
            return TaskOutcome.STOPPED, "it was stopped"
        news = pulse.look()
        if news is not None:
            show(news)
        if pulse.stalled():
            _dump_stack(process)
            _terminate(process, grace_s=5.0, first=signal.SIGTERM)
            at = "its start" if pulse.progress is None else f"step {pulse.progress.step}"
            silent = rough_duration(task.stall_timeout_s)
            return TaskOutcome.HUNG, f"it showed no progress for {silent} at {at}"


def _ends_within(process: RunProcess, seconds: float) -> bool:
    """Whether a process ends within some seconds; sleeps, where `wait` polls 20 times a second."""
    if process.poll() is not None:
        return True
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.poll() is not None
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _classify_exit(returncode: int, log: Path) -> tuple[TaskOutcome, str]:
    if returncode == 0:
        return TaskOutcome.DONE, ""
    if returncode == LOST:
        return TaskOutcome.LOST, "the process that had started it was killed"
    if returncode in _STOPPED:
        return TaskOutcome.STOPPED, "somebody stopped its process"
    # The log also has the lines of earlier starts.
    output = end_of(log).rpartition("\n--- ")[2]
    return TaskOutcome.FAILED, reason_for(returncode, output)


def _terminate(
    process: RunProcess,
    *,
    grace_s: float,
    stop: Stop | None = None,
    first: signal.Signals = signal.SIGINT,
) -> None:
    """End a process and its children: signal it, and kill the group after the grace period."""
    if process.poll() is None and grace_s:
        with suppress(OSError, ValueError):  # not every system has the signal
            process.send_signal(first)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and not (stop is not None and stop.at_once.is_set()):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                break
    if process.poll() is None or grace_s == 0.0:
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _dump_stack(process: RunProcess) -> None:
    """Have a hanging process write its stack to its log."""
    if hasattr(signal, "SIGUSR1"):
        with suppress(OSError):
            process.send_signal(signal.SIGUSR1)
        time.sleep(0.5)
