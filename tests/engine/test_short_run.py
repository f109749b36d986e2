"""Claims about what a run leaves and says, by the toy counter that is trained in a moment.

`Brightness` counts the same number of cells in every image, and each step raises it by the rate.
"""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from cellbench.data.splits import make_split
from cellbench.data.stored_set import open_set
from cellbench.engine import run as run_module
from cellbench.engine.devices import Processes
from cellbench.engine.request import Request, find_finished, resolve_run
from cellbench.engine.run import run
from cellbench.engine.work_progress import Display
from cellbench.errors import RunError, UserError
from cellbench.files.locks import hold_folder
from cellbench.records.record_file import differing_keys

CONFIG = "cellbench_toy:methods/brightness.py"
OVERRIDES = ("optimizer.lr=5", "data.input_scale=0.25", "schedule.validations=2")


def asked(**changes):
    base = Request(CONFIG, dataset="adi-sim", protocol="smoke", epochs=3, overrides=OVERRIDES)
    return dataclasses.replace(base, **changes)


def level(outcome):
    return float(load_file(outcome.folder / "best.safetensors")["level"])


def truth(part, protocol="smoke"):
    stored = open_set("adi-sim")
    ids = getattr(make_split(stored, protocol=protocol, split=0), part)
    return [stored.sample(image_id).count for image_id in ids]


def test_a_run_without_its_test_part_is_trained_and_then_scored_by_the_next_start(bench):
    trained = run(asked(no_test=True))
    assert (trained.record, trained.record_file, trained.pictures) == (None, None, [])
    errors = [abs(count - level(trained)) for count in truth("val")]
    assert trained.validation_mae == pytest.approx(sum(errors) / len(errors))
    assert not list(bench.rglob("leaderboards/**/*.json"))
    assert trained.folder == next(bench.rglob("best.safetensors")).parent
    steps = []
    scored = run(asked(), Display(step=lambda done, loss, mae: steps.append(done)))
    assert steps == [], "it was trained again"
    assert scored.fresh
    assert scored.folder == trained.folder
    assert level(scored) == level(trained)
    counts = {image["prediction"] for image in scored.record["images"]}
    assert counts == {level(trained)}


def test_a_finished_run_is_shown_and_its_record_lies_beside_its_weights(bench):
    said, begun = [], []
    first = run(asked(), Display(say=said.append, start=lambda steps, effort: begun.append(steps)))
    assert said == ["Scoring 2 test images."]
    assert begun == [first.record["iterations"]]
    assert first.fresh
    assert first.pictures
    copy = first.folder / "record.json"
    assert json.loads(copy.read_text()) == json.loads(first.record_file.read_text())
    copy.unlink()
    again = run(asked(), Display(start=lambda *told: pytest.fail("it trains")))
    assert not again.fresh
    assert (again.record, again.record_file) == (first.record, first.record_file)
    assert (again.folder, again.pictures) == (first.folder, sorted(first.pictures))
    assert again.validation_mae == first.validation_mae
    assert copy.is_file()
    assert find_finished(resolve_run(asked(no_test=True), print)) is None
    assert find_finished(resolve_run(asked(seed=1), print)) is None


def test_timings_are_those_of_the_run(bench):
    began = run_module.time.monotonic()
    timing = run(asked()).record["timing"]
    took = run_module.time.monotonic() - began
    assert 0 <= timing["train_s"] <= took + 0.01
    assert 0 < timing["test_s"] <= took + 0.01
    assert timing["peak_memory_mb"] > 20, "PyTorch alone takes more"
    assert timing["peak_memory_mb"] < 100_000


def test_a_run_that_is_started_over_gives_the_same_record(bench):
    outcome = run(asked(no_test=True))
    steps, said = [], []
    display = Display(say=said.append, step=lambda done, loss, mae: steps.append(done))
    again = run(asked(no_test=True, resume=False), display)
    assert steps == list(range(1, len(steps) + 1))
    assert steps
    assert level(again) == level(outcome)
    (again.folder / "last.pth").write_bytes(b"torn")
    last = run(asked(), display)
    assert any("cannot be read; the run starts over" in sentence for sentence in said)
    other = run(asked(store=str(bench / "other")))
    assert differing_keys(last.record, other.record) == []


def test_while_another_process_is_at_a_run_it_is_not_started(bench):
    found = resolve_run(asked(), print)
    folder = found.experiment.folder(found.store)
    with (
        hold_folder(folder, elsewhere="--store", busy=""),
        pytest.raises(UserError, match="Another process is at this run"),
    ):
        run(asked())
    assert run(asked()).fresh


def test_of_several_processes_the_second_writes_no_record_and_leaves_the_group(bench, monkeypatch):
    said, done = [], run_module.TrainingState(best_mae=3.5)
    monkeypatch.setattr(run_module, "leave_processes", lambda kind, *error: said.append(kind))
    monkeypatch.setattr(run_module, "wait_for_main", lambda: said.append("waited"))
    # what is trained together is a claim of test_training.py
    monkeypatch.setattr(run_module, "run_training", lambda training, plan, show: done)
    prepared = run_module.prepare(resolve_run(asked(), print))
    second = dataclasses.replace(prepared, processes=Processes(1, 2))
    outcome = run_module.run_prepared(second, Display(), 0.0)
    assert (outcome.record, outcome.validation_mae) == (None, 3.5)
    assert said == ["waited", None]
    assert not list(bench.rglob("*.json"))

    def failed(training, plan, show):
        raise RunError("The loss was nan.")

    monkeypatch.setattr(run_module, "run_training", failed)
    with pytest.raises(RunError):
        run_module.run_prepared(second, Display(), 0.0)
    assert said[2:] == ["waited", RunError]


def test_without_validation_images_thresholds_come_from_training_images(bench, monkeypatch):
    chosen = []
    monkeypatch.setattr(
        "cellbench_toy.brightness.Brightness.calibrate",
        lambda self, validation: chosen.append(len(validation.truth)) or {"level": 1.5},
    )
    quick = (*OVERRIDES, "data.batch_size=50", "schedule.validations=1")
    record = run(asked(protocol="literature", epochs=1, overrides=quick)).record
    parts = make_split(open_set("adi-sim"), protocol="literature", split=0)
    assert chosen == [len(parts.train)]
    assert record["thresholds"] == {"level": 1.5}
    assert record["selection"] == {
        "rule": "last",
        "step": record["iterations"],
        "validation_mae": None,
    }
    assert len(record["images"]) == len(parts.test)


def test_the_released_protocol_scores_crops_of_the_training_images(bench):
    quick = (*OVERRIDES, "data.batch_size=50", "schedule.validations=1")
    outcome = run(asked(protocol="released", epochs=1, overrides=quick))
    parts = make_split(open_set("adi-sim"), protocol="released", split=0)
    assert {image["id"] for image in outcome.record["images"]} == set(parts.train)
    assert outcome.record["selection"]["rule"] == "train crops"
    assert outcome.pictures == []


def test_random_numbers_of_a_start_are_those_of_its_seed(bench):
    prepared = run_module.prepare(resolve_run(asked(seed=5), print))
    run_module.start_counter(prepared, print)
    expected = torch.rand(1, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.rand(1), expected)
