"""What all tests share: a home and a store of their own, and no network."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = os.environ.get("CELLBENCH_SHARED")


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


# Tests on real images and weights exist only where these are; there they must pass.
collect_ignore_glob = [] if SHARED else ["**/test_real_*.py"]
