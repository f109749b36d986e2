import pytest

from cellbench.errors import UserError
from cellbench.sweeps import slots
from cellbench.sweeps.gpus import Gpu, Share
from cellbench.sweeps.slots import make_slots


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(slots, "cores", lambda: 8)


def shares(**runs):
    return [Share(Gpu(name.removeprefix("g")), count) for name, count in runs.items()]


def test_one_job_on_a_cpu_is_what_cellbench_run_would_be():
    [slot] = make_slots(jobs=None, shares=[])
    assert slot.environment == {}
    assert slot.gpu == ""


def test_jobs_share_the_cores():
    found = make_slots(jobs=3, shares=[])
    assert [slot.environment["OMP_NUM_THREADS"] for slot in found] == ["2"] * 3


def test_threads_that_the_user_set_stay(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert make_slots(jobs=2, shares=[])[0].environment == {}


def test_runs_fill_all_gpus_in_turn_up_to_the_share_of_each():
    found = make_slots(jobs=None, shares=shares(g2=1, gB=1))
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found] == ["2", "B"]
    found = make_slots(jobs=None, shares=shares(g2=1, gB=3))
    assert [slot.gpu for slot in found] == ["2", "B", "B", "B"]
    assert [slot.environment["OMP_NUM_THREADS"] for slot in found] == ["2"] * 4
    found = make_slots(jobs=3, shares=shares(g2=2, gB=2))
    assert [slot.gpu for slot in found] == ["2", "B", "2"]


def test_gpus_that_nobody_named_are_numbered_as_nvidia_smi_numbers_them(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    [slot] = make_slots(jobs=None, shares=shares(g1=1))
    assert slot.environment == {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # as the user's CUDA numbers them
    [slot] = make_slots(jobs=None, shares=shares(g1=1))
    assert slot.environment == {"CUDA_VISIBLE_DEVICES": "1"}


def test_a_gpu_that_device_names_is_left_to_device():
    found = make_slots(jobs=None, shares=[Share(Gpu("cuda:1"), 2)])
    assert [slot.gpu for slot in found] == ["cuda:1"] * 2
    assert "CUDA_VISIBLE_DEVICES" not in found[0].environment
    assert len(make_slots(jobs=4, shares=[Share(Gpu("cuda:1"), 2)])) == 4


def test_more_jobs_than_gpus_take_is_one_sentence():
    with pytest.raises(UserError, match=r"--jobs 2 is more than 1 GPU take.*raise --runs-per-gpu"):
        make_slots(jobs=2, shares=shares(g0=1))
    assert len(make_slots(jobs=2, shares=[])) == 2
