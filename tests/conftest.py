"""What all tests share: a home and a store of their own, and no network."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from cellbench.data.simulated import simulate_set

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


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `cellbench` as a user does, in a process of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cellbench", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=environment.pop("cwd", None),
            env={**os.environ, "COLUMNS": "200", **environment},
        )

    return run


@pytest.fixture(scope="session")
def simulated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `CELLBENCH_HOME` with the simulated ADI; `$CELLBENCH_SIMULATED` keeps it between runs."""
    kept = os.environ.get("CELLBENCH_SIMULATED")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("simulated-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLBENCH_HOME", str(folder))
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
