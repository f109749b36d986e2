"""Start the process of a run: forked from a server, or a new interpreter."""

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Protocol

from cellbench.sweeps.fork_client import ForkServer, NoServerError
from cellbench.sweeps.tasks import Task


class RunProcess(Protocol):
    """Process of a run: the interface that `subprocess.Popen` and `ForkedRun` share."""

    pid: int
    stdin: IO[bytes] | None

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it is unknown."""

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code; raise `subprocess.TimeoutExpired`."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless the process has ended."""

    def kill(self) -> None:
        """Kill the process."""


def launch(
    task: Task, log: IO[bytes], *, server: ForkServer | None, cancelled: Callable[[], bool]
) -> RunProcess:
    """Start the process of a task in a session of its own.

    The process stops when its standard input is closed. Ctrl-C in the terminal does not reach it
    directly: its supervisor forwards it, once.

    Args:
        task: the task; its config file must exist.
        log: receives standard output and error.
        server: forks the process; if it is None or gone, a new interpreter is started.
        cancelled: polled while the server still imports.

    Raises:
        OSError: no process can be started.
    """
    if server is not None:
        with suppress(NoServerError):
            return server.start(
                ["run", *task.options()],
                log=log,
                environment=task.environment,
                cancelled=cancelled,
            )
    return subprocess.Popen(
        task.arguments(),
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, **task.environment},
    )
