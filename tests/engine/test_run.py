import dataclasses
import json

import pytest
import torch

from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.engine.work_progress import Display
from cellbench.errors import RunError, UserError
from cellbench.records.record_file import differing_keys

# A trunk without its deep stages and two crops a step: seconds, and every part still there.
SMALL = (
    "model.backbone.strides=[2, 4]",
    "model.backbone.weights=None",
    "model.backbone.frozen_stages=0",
    "data.batch_size=2",
    "data.input_scale=0.5",
    "data.augment.0.size=64",
    "schedule.validations=2",
)


def request(**changes):
    base = Request("configs/dla_adi.py", dataset="adi-sim", protocol="smoke", epochs=2)
    return dataclasses.replace(base, overrides=SMALL, **changes)


@pytest.fixture
def finished(bench):
    return run(request())


def test_a_run_leaves_a_record_pictures_and_weights(finished, bench):
    record = finished.record
    assert finished.record_file.parent == bench / "leaderboards" / "records" / "adi-sim"
    assert record["simulated"] is True
    assert record["protocol"] == "smoke"
    assert len(record["images"]) == 2
    errors = [abs(image["prediction"] - image["truth"]) for image in record["images"]]
    assert record["metrics"]["mae"] == pytest.approx(sum(errors) / 2)
    assert record["thresholds"].keys() == {"threshold"}
    assert [point["step"] for point in record["curve"]][-1] == record["iterations"] == 4
    assert {"role": "matcher", "name": "KHM"} in [
        {key: part[key] for key in ("role", "name")} for part in record["plugins"]
    ]
    assert finished.pictures
    assert all(picture.is_file() for picture in finished.pictures)
    assert (finished.folder / "best.safetensors").is_file()
    assert (finished.folder / "log.txt").read_text()


def test_saying_run_again_shows_the_record_and_trains_nothing(finished):
    again = run(request(), Display(start=lambda steps: pytest.fail("it trains")))
    assert not again.fresh
    assert again.record == finished.record


def test_two_runs_of_one_config_give_one_record(finished, bench):
    other = run(request(store=str(bench / "other")))
    assert other.fresh
    assert differing_keys(other.record, finished.record) == []


def test_another_seed_is_another_run(finished):
    other = run(request(seed=1))
    assert other.record["run_id"] != finished.record["run_id"]
    assert other.record["images"] != finished.record["images"]


def test_an_interrupted_run_goes_on_to_the_same_record(finished, bench):
    store = str(bench / "other")

    def interrupt(done, loss, mae):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request(store=store), Display(step=interrupt))
    steps = []
    resumed = run(request(store=store), Display(step=lambda done, loss, mae: steps.append(done)))
    assert steps[0] > 1, "it began again"
    assert differing_keys(resumed.record, finished.record) == []


def test_no_test_leaves_the_test_part_unread_and_writes_no_record(bench, monkeypatch):
    from cellbench.data.stored_set import StoredSet

    read = set()
    pixels = StoredSet.pixels
    monkeypatch.setattr(
        StoredSet, "pixels", lambda self, image: (read.add(image), pixels(self, image))[1]
    )
    outcome = run(request(no_test=True))
    assert outcome.record is None
    assert outcome.validation_mae is not None
    assert not list(bench.rglob("leaderboards/records/**/*.json"))
    scored = run(request())  # the finished training is scored, not repeated
    tested = {image["id"] for image in scored.record["images"]}
    assert scored.record["selection"]["validation_mae"] == outcome.validation_mae
    assert len(read) >= 8
    read.clear()
    run(request(no_test=True, seed=3))
    assert not read & tested


def test_a_loss_that_is_no_number_stops_at_its_step_and_keeps_the_checkpoint(bench, monkeypatch):
    from cellbench.models.point_counter import PointCounter

    honest = PointCounter.loss
    calls = []

    def poisoned(self, batch):
        calls.append(1)
        terms = honest(self, batch)
        return {k: v * float("nan") for k, v in terms.items()} if len(calls) == 4 else terms

    monkeypatch.setattr(PointCounter, "loss", poisoned)
    with pytest.raises(RunError, match=r"nan at step 4; the last good checkpoint is kept"):
        run(request())
    [kept] = bench.rglob("last.pth")
    state = torch.load(kept, map_location="cpu", weights_only=True)["counter"]
    assert all(torch.isfinite(value).all() for value in state.values())


def test_fresh_starts_an_interrupted_run_over(bench):
    def interrupt(done, loss, mae):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request(), Display(step=interrupt))
    steps = []
    run(request(resume=False), Display(step=lambda done, loss, mae: steps.append(done)))
    assert steps == [1, 2, 3, 4]


def test_a_torn_checkpoint_is_said_and_the_run_starts_over(finished, bench):
    store = str(bench / "other")

    def interrupt(done, loss, mae):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request(store=store), Display(step=interrupt))
    [last] = (bench / "other").rglob("last.pth")
    last.write_bytes(last.read_bytes()[:1000])
    said = []
    resumed = run(request(store=store), Display(say=said.append))
    assert any("cannot be read; the run starts over" in text for text in said)
    assert differing_keys(resumed.record, finished.record) == []


def test_two_processes_never_share_a_run(bench):
    from cellbench.engine.request import resolve_run
    from cellbench.files.locks import hold_folder

    found = resolve_run(request(), print)
    with (
        hold_folder(found.experiment.folder(found.store), elsewhere="--store", busy=""),
        pytest.raises(UserError, match="Another process is at this run"),
    ):
        run(request())


def test_a_budget_fixes_the_steps_once(bench, monkeypatch):
    monkeypatch.setattr("cellbench.engine.budget.FEWEST_STEPS", 1)  # on a machine of any speed
    asked = dataclasses.replace(request(), epochs=None, budget_s=8.0)
    first = run(dataclasses.replace(asked, no_test=True))
    plan = json.loads((first.folder / "plan.json").read_text())
    record = run(asked).record
    assert record["iterations"] == plan["iterations"] >= 1
    assert record["config"]["schedule"]["budget_s"] == 8.0


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["literature", "released"])
def test_protocols_without_validation_images_still_choose_a_threshold(bench, protocol):
    # Two steps: what is claimed here is which images are read, not how well they are counted.
    asked = dataclasses.replace(
        request(), protocol=protocol, epochs=1, overrides=(*SMALL, "data.batch_size=25")
    )
    record = run(asked).record
    assert "threshold" in record["thresholds"]
    wanted = {"literature": 150, "released": 50}[protocol]
    assert len(record["images"]) == wanted
    assert record["selection"]["step"] > 0


def test_the_toy_plugin_trains(bench):
    toy = "cellbench_toy:methods/p2pnet_greedy.py"
    overrides = ("model.backbone.weights=None", "data.batch_size=2", "schedule.validations=1")
    record = run(
        Request(toy, dataset="adi-sim", protocol="smoke", epochs=1, overrides=overrides)
    ).record
    assert "cellbench-toy" in {part["distribution"] for part in record["plugins"]}
    assert (record["config"]["data"]["epochs"], record["whole_epochs"]) == (1, 104)


def test_a_method_that_trains_itself_is_scored_like_any_other(bench):
    mean = "cellbench_toy:methods/training_mean.py"
    record = run(Request(mean, dataset="adi-sim", protocol="smoke")).record
    counts = {image["prediction"] for image in record["images"]}
    assert len(counts) == 1
    [count] = counts
    truths = [image["truth"] for image in record["images"]]
    assert record["metrics"]["mae"] == pytest.approx(sum(abs(t - count) for t in truths) / 2)
    assert record["metrics"]["f1"] is None
    assert record["points"] is None
    assert "whole_epochs" not in record
    assert record["thresholds"] == {}
    assert record["selection"]["validation_mae"] > 0
