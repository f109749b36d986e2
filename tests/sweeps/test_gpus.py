"""Claims about sharing GPUs, on machines that are made up."""

import json
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from cellbench.cli.main import main
from cellbench.records.model import Record, Timing
from cellbench.sweeps import gpus
from cellbench.sweeps.demand import demand_of
from cellbench.sweeps.gpus import Demand, Gpu, share_gpus, visible_gpus
from cellbench.sweeps.plan import State
from cellbench.sweeps.slots import make_slots

H200 = Gpu("0", "NVIDIA H200", 143000.0)
LISTED = """\
0, GPU-5a11, NVIDIA H200, 143000
1, GPU-77f0, Tesla T4, 15000
"""


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """A machine with two GPUs."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTED}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def shared(gpu=H200, *, cores=16, **demand):
    [share] = share_gpus(
        [gpu], runs_per_gpu=None, demand=Demand(**{"runs": 60, **demand}), cores=cores
    )
    return share


@pytest.mark.parametrize(
    ("share", "runs"),
    [
        (shared(peak_mb=640.0, records=3), 16),  # as was measured
        (shared(cores=64, peak_mb=640.0), 16),  # no more than was measured
        (shared(cores=4, peak_mb=640.0), 4),
        (shared(peak_mb=20000.0), 5),
        (shared(peak_mb=200000.0), 1),
        (shared(runs=3, peak_mb=640.0), 3),
        (shared(Gpu("0", "Tesla T4", 15000.0)), 4),  # by the guess
        (shared(Gpu("0", "Tesla T4", 15000.0), peak_mb=100.0, records=1), 16),
        (shared(Gpu("0", "Tesla T4", 15000.0), peak_mb=100.0, records=1, unknown=1), 4),
        (shared(Gpu("MIG-1")), 1),
    ],
)
def test_memory_cores_and_what_was_measured_limit_the_runs_of_a_gpu(share, runs):
    assert share.runs == runs
    assert share.reason.startswith(f"{runs} run")
    assert "\n" not in share.reason


def test_the_reason_states_all_that_it_follows_from():
    assert shared(peak_mb=640.0, records=3).reason == (
        "16 runs at a time on GPU 0 (NVIDIA H200): 139.6 GB are free, enough for 91 (1.4 GB each, "
        "by 3 records); 16 CPU cores; 16 at most were measured; 60 to do; --runs-per-gpu N sets "
        "another number."
    )


def test_several_gpus_part_cores_and_runs():
    small = Gpu("1", "Tesla T4", 15000.0)
    demand = Demand(runs=10, peak_mb=1000.0, records=1)
    found = share_gpus([H200, small], runs_per_gpu=None, demand=demand, cores=16)
    assert [share.runs for share in found] == [5, 5]
    found = share_gpus([H200, small], runs_per_gpu=None, demand=demand, cores=4)
    assert [share.runs for share in found] == [2, 2]
    found = share_gpus([H200, small], runs_per_gpu=7, demand=demand, cores=4)
    assert [(share.runs, share.reason) for share in found] == [(7, ""), (7, "")]


def test_gpus_that_others_have_filled_are_left_to_them_where_one_has_room():
    full, unknown = Gpu("3", "NVIDIA H200", 2000.0), Gpu("MIG-1")
    demand = Demand(runs=10, peak_mb=2000.0, records=1)

    def runs(*gpus, **changes):
        options = {"runs_per_gpu": None, "demand": demand, "cores": 16, **changes}
        return share_gpus(gpus, **options)

    left, taken = runs(full, H200)
    # cores and runs are for those that take some
    assert (left.runs, taken.runs) == (0, 10)
    assert left.reason == (
        "No run on GPU 3 (NVIDIA H200): 2.0 GB are free, too little for one (3.0 GB each, by 1 "
        "record); --runs-per-gpu N has N run on every GPU."
    )
    slots = make_slots(jobs=None, shares=[left, taken])
    assert {slot.gpu for slot in slots} == {"0"}
    assert [share.runs for share in runs(full, unknown)] == [0, 1]
    assert [share.runs for share in runs(full, full)] == [1, 1]
    assert [share.runs for share in runs(full, H200, runs_per_gpu=2)] == [2, 2]


def test_the_gpus_are_those_that_a_run_would_see(driver, monkeypatch):
    both = [Gpu("0", "NVIDIA H200", 143000.0), Gpu("1", "Tesla T4", 15000.0)]
    assert visible_gpus() == visible_gpus("cuda") == both
    assert visible_gpus("cuda:1") == [Gpu("cuda:1", "Tesla T4", 15000.0)]
    assert visible_gpus("cuda:7") == [Gpu("cuda:7")]
    assert visible_gpus("cpu") == []
    for given, expected in (
        ("1", [Gpu("1", "Tesla T4", 15000.0)]),
        ("GPU-77f0,0", [Gpu("GPU-77f0", "Tesla T4", 15000.0), both[0]]),
        ("MIG-1", [Gpu("MIG-1")]),
        ("0,-1,1", [both[0]]),
        ("", []),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert visible_gpus() == expected


def test_without_the_drivers_tool_there_is_a_gpu_only_where_it_is_named(monkeypatch):
    monkeypatch.setattr(gpus, "_listed", list)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == []
    assert visible_gpus("cuda") == [Gpu("cuda")]
    assert visible_gpus("cuda:0") == [Gpu("cuda:0")]


class Facts(BaseModel):
    """What is read of a record."""

    environment: dict[str, str]
    timing: Timing


def write_record(folder, name, *, device, product, peak_mb):
    record = {
        "environment": {"device": device, "device_name": product},
        "timing": {"peak_memory_mb": peak_mb},
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record))
    return SimpleNamespace(config_hash=name.partition("-")[0], path=path)


def test_memory_is_known_from_records_of_the_same_config_on_such_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "cellbench.sweeps.demand.parse_record",
        lambda p: Record.model_construct(**Facts.model_validate_json(p.read_text()).__dict__),
    )
    finished = [
        write_record(tmp_path, "a-1", device="cuda", product="NVIDIA H200", peak_mb=400.0),
        write_record(tmp_path, "a-2", device="cuda", product="Tesla T4", peak_mb=900.0),
        write_record(tmp_path, "b-1", device="cpu", product="x86_64 AVX2", peak_mb=5000.0),
        write_record(tmp_path, "c-1", device="cuda", product="Tesla T4", peak_mb=300.0),
        write_record(tmp_path, "d-1", device="cuda", product="Tesla T4", peak_mb=None),
        write_record(tmp_path, "e-1", device="cuda", product="NVIDIA H200", peak_mb=9000.0),
    ]
    runs = [
        SimpleNamespace(
            experiment=SimpleNamespace(config=SimpleNamespace(hash=name)), state=State.MISSING
        )
        for name in ("a", "a", "b", "c", "d")
    ] + [
        SimpleNamespace(
            experiment=SimpleNamespace(config=SimpleNamespace(hash="e")), state=State.FAILED
        )
    ]
    plan = SimpleNamespace(runs=runs, finished=SimpleNamespace(runs=finished))
    found = demand_of(plan, products={"NVIDIA H200"})
    assert found == Demand(runs=5, peak_mb=400.0, records=2, unknown=2)
    again = demand_of(plan, products={"NVIDIA H200"}, retry_failed=True)
    assert again == Demand(runs=6, peak_mb=9000.0, records=3, unknown=2)


def test_the_plan_says_in_one_line_how_a_gpu_is_shared(fake, driver, capsys):
    main(["compare", str(fake.grid), "--store", str(fake.store), "--dry-run"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "--runs-per-gpu" in line]
    assert len(lines) == 2
    assert "on GPU 0 (NVIDIA H200): 139.6 GB are free" in lines[0]
    assert "a guess, as no record tells" in lines[1]
    main(["compare", str(fake.grid), "--store", str(fake.store), "--dry-run", "--device", "cpu"])
    assert "GPU" not in capsys.readouterr().out


@pytest.mark.parametrize("given", ["0", "many", "-1", "1.5"])
def test_a_wrong_number_of_runs_per_gpu_is_one_sentence(capsys, given):
    with pytest.raises(SystemExit) as ended:
        main(["compare", "--runs-per-gpu", given])
    assert ended.value.code == 2
    assert "neither auto nor a whole number" in capsys.readouterr().err
