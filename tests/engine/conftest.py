"""A store of its own beside the simulated ADI."""

from pathlib import Path

import pytest


@pytest.fixture
def bench(simulated_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store beside a home with the simulated ADI, and no network."""
    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path
