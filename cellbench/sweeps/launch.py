"""Starting the process of a run: forked from a server, or a new interpreter."""

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Protocol

from cellbench.sweeps.fork_client import ForkServer, NoServerError
from cellbench.sweeps.tasks import Task


class RunProcess(Protocol):
    """What `subprocess.Popen` and `ForkedRun` have in common."""

    pid: int
    stdin: IO[bytes] | None

    @property
    def returncode(self) -> int | None:
        """The exit code, once it is known."""

    def poll(self) -> int | None:
        """The exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raises `subprocess.TimeoutExpired`."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless it has ended."""

    def kill(self) -> None:
        """End it at once."""


def launch(
    task: Task, log: IO[bytes], *, server: ForkServer | None, cancelled: Callable[[], bool]
) -> RunProcess:
    """Start the process of a task in a session of its own.

    The process lives as long as the other end of its standard input; Ctrl-C in the terminal
    reaches it through its supervisor alone, once.

    Args:
        task: its config file is written already.
        log: takes standard output and error.
        server: forks it; None, or one that is gone, has a new interpreter started.
        cancelled: looked at while the server still imports.

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
