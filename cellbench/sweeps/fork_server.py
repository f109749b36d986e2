"""Fork server: a process that has imported the libraries, from which runs are forked.

`python -m cellbench.sweeps.fork_server SOCKET TARGET MODULE...` imports the modules, then forks
once for every request on the socket; each child calls TARGET ("module:function") with the
arguments of its request, as a separate program: its own session, standard streams and exit code.
No thread runs and no GPU is used before a fork; if an import has used one all the same, this
process ends without serving, and runs start as new interpreters. `fork_client` is the client.

A request is one line of JSON, {"arguments": [...], "environment": {...}}, sent with three file
descriptors: the child's standard input, its log, and a pipe that receives its exit code as a line
of text, or is closed without one if this process is killed. The answer is {"pid": ...} or
{"error": "..."}.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from cellbench import plugin_index

MODULE = "cellbench.sweeps.fork_server"
READY = b"ready\n"

_LONGEST = 1 << 20  # bytes of a request

# A variable of PyTorch: 1 has it detect GPUs by NVIDIA's management library, not by the driver.
_NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"


def main() -> None:
    """Serve until the client closes the socket; in a child, call the target."""
    number, target, *modules = sys.argv[1:]
    connection = socket.socket(fileno=int(number))
    for position, name in enumerate(modules):
        try:
            with _gpus_left_alone():
                plugin_index.import_module(name)
        except BaseException:
            # A failed import leaves modules half initialised, so start again without it; the
            # run that needs the module reports the error.
            rest = modules[:position] + modules[position + 1 :]
            os.set_inheritable(connection.fileno(), True)
            os.execv(sys.executable, [sys.executable, "-m", MODULE, number, target, *rest])
    if not _children_can_use_gpus():
        return
    # Imported objects stay: the collector must not touch, and so copy, their pages in each child.
    gc.collect()
    gc.freeze()
    arguments = _serve(connection)
    if arguments is not None:
        module, _, function = target.partition(":")
        getattr(importlib.import_module(module), function)(arguments)


@contextmanager
def _gpus_left_alone() -> Iterator[None]:
    """Keep imports that detect GPUs, such as mmengine's, from initialising the driver.

    A process that is forked after the driver is initialised cannot use a GPU.
    """
    before = os.environ.get(_NVML_CHECK)
    os.environ[_NVML_CHECK] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_NVML_CHECK, None)
        else:
            os.environ[_NVML_CHECK] = before


def _children_can_use_gpus() -> bool:
    """Whether children can use a GPU, if there is any; tested in one child."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None:
        return True
    pid = os.fork()
    if not pid:
        lost = True
        with suppress(BaseException):
            lost = cuda._is_in_bad_fork() and cuda.is_available()
        os._exit(int(lost))
    return os.waitpid(pid, 0)[1] == 0


def _serve(connection: socket.socket) -> list[str] | None:
    """Fork a child for every request.

    Returns:
        In a child the arguments of its request; in the server None, when the client is gone.
    """
    children: dict[int, int] = {}  # pid -> pipe that receives the exit code
    wake, woken = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    connection.sendall(READY)
    while True:
        readable, _, _ = select.select([connection.fileno(), wake], [], [])
        if wake in readable:
            with suppress(BlockingIOError):
                os.read(wake, 4096)
            _report_ended(children)
        if connection.fileno() not in readable:
            continue
        line, passed = _receive(connection)
        if not line:
            return None
        server_fds = [connection.fileno(), wake, woken, *children.values()]
        try:
            request = json.loads(line)
            pid = _fork(request, passed, close=server_fds)
        except (OSError, ValueError, KeyError, TypeError) as error:
            answer: dict[str, Any] = {"error": f"{type(error).__name__}: {error}"}
            kept = []
        else:
            if pid == 0:
                return list(request["arguments"])
            answer, kept = {"pid": pid}, [passed[2]]
            children[pid] = passed[2]
        for number in passed:
            if number not in kept:
                os.close(number)
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _fork(request: dict[str, Any], passed: Sequence[int], *, close: Sequence[int]) -> int:
    """Fork, and return in the parent once the child has its own session and streams.

    Args:
        request: see the module.
        passed: its three descriptors.
        close: descriptors of this process that the child does not need.

    Returns:
        The child's pid; 0 in the child.
    """
    stdin, log, status = passed
    arguments, environment = list(request["arguments"]), dict(request["environment"])
    ready_read, ready_write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(ready_write)
        os.read(ready_read, 1)
        os.close(ready_read)
        return pid
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        for number, wanted in ((stdin, 0), (log, 1), (log, 2)):
            os.dup2(number, wanted)
        for number in (stdin, log, status, ready_read, *close):
            os.close(number)
        os.environ.update(environment)
        sys.argv = ["cellbench", *arguments]
        _set_threads(environment)
        os.write(ready_write, b"\n")
        os.close(ready_write)
    except BaseException:
        os._exit(1)  # never become a second server
    return 0


def _set_threads(environment: dict[str, str]) -> None:
    """Set the number of threads, since torch was imported before the variable was set."""
    wanted, torch = environment.get("OMP_NUM_THREADS", ""), sys.modules.get("torch")
    if torch is not None and wanted.isdigit() and int(wanted) > 0:
        torch.set_num_threads(int(wanted))


def _report_ended(children: dict[int, int]) -> None:
    """Write the exit codes of the children that have ended."""
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            pipe = children.pop(pid)
            with suppress(OSError):  # the reader may be gone
                os.write(pipe, f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os.close(pipe)


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one line and its descriptors; the line is empty at the end of the stream."""
    line, passed = b"", []
    while not line.endswith(b"\n") and len(line) < _LONGEST:
        data, descriptors, _, _ = socket.recv_fds(connection, _LONGEST, 8, socket.MSG_CMSG_CLOEXEC)
        passed += list(descriptors)
        if not data:
            return b"", passed
        line += data
    return line, passed


if __name__ == "__main__":
    main()
