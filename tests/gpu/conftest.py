"""Tests that need a GPU: skipped, with the reason, where there is none.

`CELLBENCH_TEST_DEVICE=cpu` runs them on the CPU, to see that the tests themselves work.
"""

import os
from pathlib import Path

import pytest
import torch

WHERE = os.environ.get("CELLBENCH_TEST_DEVICE", "cuda")
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    missing = WHERE == "cuda" and not torch.cuda.is_available()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if missing:
                item.add_marker(pytest.mark.skip(reason="PyTorch sees no GPU here"))


@pytest.fixture
def device():
    """The GPU that is tested."""
    return torch.device(WHERE, 0) if WHERE == "cuda" else torch.device(WHERE)


@pytest.fixture
def full_float32():
    """Products in float32 and not in TF32, which has 10 bits."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    yield
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.fixture
def store(simulated_home, tmp_path, monkeypatch):
    """An empty store beside a home with the simulated ADI, and no network."""
    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    return tmp_path
