"""Running `cellbench` in a process of its own that need not import torch first.

A test that only wants to know what a command says and leaves would wait for the imports far longer
than for the command. So the process is forked from one that has done them (`multiprocessing`'s own
server, which runs nothing and starts no thread). What depends on how Python or a library starts
gets a process that starts from nothing.
"""

import atexit
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

# A variable that begins so is read while Python, a library or the locale starts.
_READ_AT_THE_START = ("PYTHON", "LD_", "LC_", "LANG", "OMP_", "MKL_", "ONEDNN", "ATEN_")
_MODULES = [
    "torch",
    "torchvision",
    "mmengine.model",
    "scipy.optimize",
    "scipy.ndimage",
    "scipy.spatial",
    "scipy.sparse.csgraph",
    "matplotlib.figure",
    "pandas",
    "pydantic",
    "PIL.PngImagePlugin",
    "torch.utils.flop_counter",
    "cellbench.engine.run",
    "cellbench.engine.pictures",
    "cellbench.counting.folder_count",
    "cellbench.reports.grid_sheets",
]
_LONGEST_S = 300

_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(_MODULES)


def run_command(
    arguments: Sequence[str], changed: Mapping[str, str], folder: str | None
) -> subprocess.CompletedProcess[str]:
    """Run `cellbench` with these arguments as a user does.

    Args:
        arguments: of the command line.
        changed: variables of its environment that are not those of this process.
        folder: that it works in; this process's if None.
    """
    environment = {**os.environ, "COLUMNS": "200", **changed}
    if any(name.startswith(_READ_AT_THE_START) for name in changed):
        return subprocess.run(
            [sys.executable, "-m", "cellbench", *arguments],
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            cwd=folder,
            env=environment,
        )
    with TemporaryDirectory() as kept:
        said = Path(kept, "out"), Path(kept, "err")
        work = (list(arguments), environment, folder or str(Path.cwd()), said)
        process = _forking.Process(target=_be_the_command, args=work)
        process.start()
        process.join(_LONGEST_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(arguments), _LONGEST_S)
        out, err = (file.read_text() for file in said)
    return subprocess.CompletedProcess(list(arguments), process.exitcode, out, err)


def _be_the_command(
    arguments: list[str], environment: dict[str, str], folder: str, said: tuple[Path, Path]
) -> None:
    """In the new process: its streams, folder and environment, then the command."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, file in zip((1, 2), said, strict=True):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["cellbench", *arguments]
    from cellbench.cli.main import main

    try:
        main()
    finally:
        sys.stdout.flush()
        atexit._run_exitfuncs()
