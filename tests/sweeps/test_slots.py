import pytest

from cellbench.errors import UserError
from cellbench.sweeps import slots
from cellbench.sweeps.slots import make_slots


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(slots, "cores", lambda: 8)


def test_one_job_on_a_cpu_is_what_cellbench_run_would_be():
    [slot] = make_slots(device="auto", jobs=None, runs_per_gpu=1)
    assert slot.environment == {}


def test_jobs_share_the_cores():
    found = make_slots(device="cpu", jobs=3, runs_per_gpu=1)
    assert [slot.environment["OMP_NUM_THREADS"] for slot in found] == ["2"] * 3


def test_threads_that_the_user_set_stay(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert make_slots(device="cpu", jobs=2, runs_per_gpu=1)[0].environment == {}


def test_there_is_one_run_a_gpu_and_more_on_request(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5a")
    found = make_slots(device="auto", jobs=None, runs_per_gpu=1)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found] == ["2", "GPU-5a"]
    found = make_slots(device="cuda", jobs=None, runs_per_gpu=2)
    seen = [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found]
    assert seen == ["2", "GPU-5a", "2", "GPU-5a"]
    assert [slot.environment["OMP_NUM_THREADS"] for slot in found] == ["2"] * 4


def test_more_jobs_than_gpus_take_is_one_sentence(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UserError, match=r"--jobs 2 is more than 1 GPU take.*raise --runs-per-gpu"):
        make_slots(device="auto", jobs=2, runs_per_gpu=1)
    assert len(make_slots(device="cpu", jobs=2, runs_per_gpu=1)) == 2
