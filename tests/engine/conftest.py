"""A simulated ADI that is drawn once a session."""

from pathlib import Path

import pytest

from cellbench.data.simulated import simulate_set


@pytest.fixture(scope="session")
def simulated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `CELLBENCH_HOME` with the simulated ADI."""
    folder = tmp_path_factory.mktemp("simulated-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLBENCH_HOME", str(folder))
        simulate_set("adi-sim")
    return folder


@pytest.fixture
def bench(simulated_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store beside a home with the simulated ADI, and no network."""
    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path
