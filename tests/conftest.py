"""What all tests share: a home and a store of their own, and no network."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from command_process import run_command
from filelock import FileLock
from hypothesis import settings

from cellbench.data.simulated import simulate_set
from cellbench.data.stored_set import is_on_disk

# Where several processes share the tests, one thread each: more would wait for one another. Torch,
# which reads this once, is not loaded yet.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A background job of a shell starts with Ctrl-C ignored, and so would every process of a test.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, however busy the machine: a failure in CI is one at home.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")

ROOT = Path(__file__).parent.parent
SHARED = os.environ.get("CELLBENCH_SHARED")


@pytest.fixture(scope="session", autouse=True)
def every_warning() -> None:
    """Torch says some warnings once a process: which test fails must not depend on the order."""
    import torch

    torch.set_warn_always(True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `CELLBENCH_HOME`, and no network to fill it from."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("CELLBENCH_HOME", str(folder))
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    return folder


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `cellbench` as a user does, in a process of its own; see `command_process`."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        folder = environment.pop("cwd", None)
        return run_command(arguments, environment, folder)

    return run


@pytest.fixture(scope="session")
def simulated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `CELLBENCH_HOME` with the simulated ADI; `$CELLBENCH_SIMULATED` keeps it between runs.

    The processes that share the tests share it.
    """
    kept = os.environ.get("CELLBENCH_SIMULATED")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = Path(kept) if kept else shared / "simulated-home"
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, FileLock(f"{folder}.lock"):
        patch.setenv("CELLBENCH_HOME", str(folder))
        if not is_on_disk("adi-sim"):
            simulate_set("adi-sim")
    return folder


# Tests on real images and weights exist only where these are; there they must pass.
collect_ignore_glob = [] if SHARED else ["**/test_real_*.py"]


@pytest.fixture
def bench(simulated_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store beside a home with the simulated ADI, and no network."""
    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path
