"""Client of the fork server, and the handle of a run that it has forked."""

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
"""Exit code of a run whose server was killed before it could report one."""

# Limit for the imports, after which runs start without the server; torch may take a minute to load
# from a cold disk.
_IMPORTS_S = 180.0
_ANSWER_S = 30.0


class NoServerError(Exception):
    """Runs cannot be forked, or no longer."""


class ForkServer:
    """Fork server, which starts each run within a fraction of a second in its own session."""

    def __init__(
        self,
        modules: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        target: str = TARGET,
    ) -> None:
        """Start the server, which imports its modules in the background.

        Args:
            modules: modules to import, in this order; those that fail are left out.
            environment: variables to set for the server and its runs.
            target: "module:function" that a run calls with its arguments.

        Raises:
            NoServerError: the system is not Linux, or no process can be started.
        """
        # On macOS the system's frameworks are not safe to use after a fork.
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
        """Process id of the server."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until the server has imported its modules; `start` does this, too.

        Raises:
            NoServerError: the server is gone or takes too long.
        """
        with self._lock:
            self._wait_until_ready(lambda: False)

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
            arguments: arguments of the target.
            log: receives standard output and error.
            environment: variables to set for this run only.
            cancelled: polled while the server still imports.

        Raises:
            NoServerError: the server is gone, does not answer, or the start was cancelled.
        """
        child_reads, we_write = os.pipe()
        we_read, server_writes = os.pipe()
        passed = (child_reads, log.fileno(), server_writes)
        try:
            with self._lock:
                if self._gone:  # another thread's start may have failed meanwhile
                    raise NoServerError("the server has ended")
                # A late answer to a failed request would be taken for that to the next.
                self._gone = True
                self._wait_until_ready(cancelled)
                pid = self._request_fork(arguments, environment or {}, passed)
                self._gone = False
        except (OSError, ValueError, NoServerError) as error:
            os.close(we_write)
            os.close(we_read)
            raise NoServerError(str(error)) from error
        finally:
            os.close(child_reads)
            os.close(server_writes)
        return ForkedRun(pid, stdin=os.fdopen(we_write, "wb"), status=we_read)

    def close(self) -> None:
        """End the server; runs that it has started continue."""
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

    def _request_fork(
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
        reply: dict[str, Any] = json.loads(answer)
        if "pid" not in reply:
            raise NoServerError(str(reply.get("error")))
        return int(reply["pid"])


class ForkedRun:
    """Handle of a process that the server has forked, with an interface like `subprocess.Popen`.

    Attributes:
        pid: id of the process, which leads a session and a process group.
        stdin: pipe; the run stops when it is closed.
        returncode: as in `subprocess`, None until the process is known to have ended; `LOST` if
            the server was killed first.
    """

    def __init__(self, pid: int, *, stdin: IO[bytes], status: int) -> None:
        """Create the handle of a process.

        Args:
            pid: id of the process.
            stdin: writing end of its standard input.
            status: reading end of the pipe to which the server writes the exit code.
        """
        self.pid = pid
        self.stdin: IO[bytes] | None = stdin
        self.returncode: int | None = None
        self._began = process_start(pid)
        self._status: int | None = status

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._wait_exit_code(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process and return its exit code.

        Raises:
            TimeoutExpired: it has not ended in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            remaining = 1.0 if deadline is None else max(0.0, deadline - time.monotonic())
            code = self._wait_exit_code(remaining)
            if code is not None:
                return code
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("cellbench run", timeout or 0.0)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)

    def _wait_exit_code(self, seconds: float) -> int | None:
        """Wait up to some seconds for the exit code; None if the process still runs."""
        if self.returncode is None and self._status is not None:
            if not select.select([self._status], [], [], seconds)[0]:
                return None
            text = os.read(self._status, 64)
            os.close(self._status)
            self._status = None
            if text.strip():
                self.returncode = int(text)
        if self.returncode is None:
            # The server is gone and cannot report the exit code; the run may continue.
            deadline = time.monotonic() + seconds
            while self._began and process_start(self.pid) == self._began:
                if time.monotonic() >= deadline:
                    return None
                time.sleep(0.05)
            self.returncode = LOST
        return self.returncode
