"""Runs forked from a process that has the libraries imported already; see `fork_server`."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from cellbench.sweeps.claims import process_start
from cellbench.sweeps.fork_server import MODULE, READY

TARGET = "cellbench.cli.main:main"

LOST = 256
"""Stands for the exit code of a run whose server was killed before it could report one."""

# A cold disk may take a minute to give torch; longer than this and runs start without the server.
_IMPORTS_S = 180.0
_ANSWER_S = 30.0


class NoServerError(Exception):
    """Runs cannot be forked here, or no longer."""


class ForkServer:
    """Starts runs in a fraction of a second, each in a process and session of its own."""

    def __init__(
        self,
        modules: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        target: str = TARGET,
    ) -> None:
        """Start the server, which imports in the background.

        Args:
            modules: imported in this order; those that fail are left out.
            environment: variables to set for the server, and so for all its runs.
            target: "module:function" that a run calls with its arguments.

        Raises:
            NoServerError: this system has no safe fork, or no process can be started.
        """
        # macOS forks, but its frameworks do not survive it.
        if not sys.platform.startswith("linux"):
            raise NoServerError("runs are forked on Linux alone")
        self._lock = threading.Lock()
        self._ready = self._gone = False
        self._began = time.monotonic()
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(theirs.fileno()), target, *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            ours.close()
            raise NoServerError(str(error)) from error
        finally:
            theirs.close()
        self._socket = ours

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self._process.pid

    def wait_until_ready(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Wait until the server has imported its modules; `start` does it by itself.

        Raises:
            NoServerError: the server is gone or takes too long, or the wait was cancelled.
        """
        with self._lock:
            self._wait_until_ready(cancelled)

    def start(
        self,
        arguments: Sequence[str],
        *,
        log: IO[bytes],
        environment: Mapping[str, str] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> "ForkedRun":
        """Fork a run.

        Args:
            arguments: of the target.
            log: takes standard output and error.
            environment: variables to set for the run alone.
            cancelled: looked at while the server still imports.

        Raises:
            NoServerError: the server is gone, does not answer, or the start was cancelled.
        """
        child_reads, we_write = os.pipe()
        we_read, server_writes = os.pipe()
        passed = (child_reads, log.fileno(), server_writes)
        try:
            with self._lock:
                if self._gone:  # perhaps since another start that this one waited for
                    raise NoServerError("the server has ended")
                # What it may still answer after a failure would be taken for the next answer.
                self._gone = True
                self._wait_until_ready(cancelled)
                answer = self._ask(arguments, environment or {}, passed)
                self._gone = False
        except (OSError, ValueError, NoServerError) as error:
            os.close(we_write)
            os.close(we_read)
            raise NoServerError(str(error)) from error
        finally:
            os.close(child_reads)
            os.close(server_writes)
        return ForkedRun(answer, stdin=os.fdopen(we_write, "wb"), status=we_read)

    def close(self) -> None:
        """End the server; runs that it has started go on."""
        with suppress(OSError):
            self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0 if self._ready else 0.0)
            return
        self._process.kill()
        self._process.wait()

    def _wait_until_ready(self, cancelled: Callable[[], bool]) -> None:
        while not self._ready:
            if cancelled() or time.monotonic() - self._began > _IMPORTS_S:
                raise NoServerError("the server is not ready")
            if select.select([self._socket], [], [], 0.2)[0]:
                if self._socket.recv(len(READY)) != READY:
                    raise NoServerError("the server has ended")
                self._ready = True

    def _ask(
        self, arguments: Sequence[str], environment: Mapping[str, str], passed: Sequence[int]
    ) -> int:
        request = {"arguments": list(arguments), "environment": dict(environment)}
        line = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(self._socket, [line], list(passed))
        self._socket.sendall(line[sent:])
        answer = b""
        while not answer.endswith(b"\n"):
            if not select.select([self._socket], [], [], _ANSWER_S)[0]:
                raise NoServerError("the server does not answer")
            data = self._socket.recv(4096)
            if not data:
                raise NoServerError("the server has ended")
            answer += data
        found: dict[str, Any] = json.loads(answer)
        if "pid" not in found:
            raise NoServerError(str(found.get("error")))
        return int(found["pid"])


class ForkedRun:
    """A process that the server has forked, with what `subprocess.Popen` offers of its own.

    Attributes:
        pid: of the process, which leads a session and a process group.
        stdin: the run stops when it closes.
        returncode: as `subprocess` has it, once the process is known to have ended; `LOST` where
            the server was killed before.
    """

    def __init__(self, pid: int, *, stdin: IO[bytes], status: int) -> None:
        """Take over a process.

        Args:
            pid: of the process.
            stdin: the writing end of its standard input.
            status: descriptor that the server writes the exit code to.
        """
        self.pid = pid
        self.stdin: IO[bytes] | None = stdin
        self.returncode: int | None = None
        self._began = process_start(pid)
        self._status: int | None = status

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            TimeoutExpired: it did not come in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 1.0 if deadline is None else max(0.0, deadline - time.monotonic())
            code = self._look(left)
            if code is not None:
                return code
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("cellbench run", timeout or 0.0)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float) -> int | None:
        """The exit code, waited for so long."""
        if self.returncode is None and self._status is not None:
            if not select.select([self._status], [], [], seconds)[0]:
                return None
            text = os.read(self._status, 64)
            os.close(self._status)
            self._status = None
            if text.strip():
                self.returncode = int(text)
        if self.returncode is None:
            # The server is gone, and with it the exit code; the run goes on.
            deadline = time.monotonic() + seconds
            while self._began and process_start(self.pid) == self._began:
                if time.monotonic() >= deadline:
                    return None
                time.sleep(0.05)
            self.returncode = LOST
        return self.returncode
