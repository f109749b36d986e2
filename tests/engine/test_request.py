"""Claims about what a request is resolved to, and which finished run answers it."""

import dataclasses
import json

import pytest

from cellbench.engine import request as request_module
from cellbench.engine.request import (
    Request,
    copy_record,
    find_finished,
    finished_outcome,
    resolve_run,
)
from cellbench.engine.run import run
from cellbench.errors import UserError

CONFIG = "cellbench_toy:methods/brightness.py"
OVERRIDES = ("optimizer.lr=5", "data.input_scale=0.25", "schedule.validations=1")
ASKED = Request(CONFIG, dataset="adi-sim", protocol="smoke", epochs=1, overrides=OVERRIDES)


def test_a_request_is_of_the_first_split_and_seed_and_the_shared_protocol(bench):
    found = resolve_run(Request(CONFIG, dataset="adi-sim"), print)
    experiment = found.experiment
    assert (experiment.split, experiment.seed, experiment.protocol) == (0, 0, "v1")
    assert found.stored.name == experiment.config.data.set == "adi-sim"
    assert experiment.manifest_hash == found.stored.manifest_hash
    assert found.store == bench
    assert not {*found.split.train, *found.split.val} & {*found.split.test}


def test_split_and_length_are_those_that_were_asked_for(bench):
    first = resolve_run(Request(CONFIG, dataset="adi-sim"), print)
    asked = Request(CONFIG, dataset="adi-sim", split=2, seed=7, epochs=3, store=str(bench / "s"))
    found = resolve_run(asked, print)
    assert found.split.test != first.split.test
    assert (found.experiment.split, found.experiment.seed) == (2, 7)
    assert found.experiment.config.data.epochs == 3
    assert found.store == bench / "s"
    budget = dataclasses.replace(asked, epochs=None, budget_s=90.0)
    assert resolve_run(budget, print).experiment.config.schedule.budget_s == 90.0


def test_a_mistyped_protocol_is_refused_before_a_set_is_fetched(bench, monkeypatch):
    monkeypatch.setattr(request_module, "resolve_set", lambda *a, **k: pytest.fail("fetched"))
    with pytest.raises(UserError, match="v2"):
        resolve_run(Request(CONFIG, dataset="adi-sim", protocol="v2"), print)


def test_a_set_that_is_not_here_has_a_stand_in_unless_it_is_refused(bench):
    said = []
    found = resolve_run(Request(CONFIG, dataset="adi"), said.append)
    assert found.stored.name == found.experiment.config.data.set == "adi-sim"
    assert any("the simulator adi-sim stands in" in sentence for sentence in said)
    with pytest.raises(UserError):
        resolve_run(Request(CONFIG, dataset="adi", strict=True), print)


@pytest.fixture
def finished(bench):
    return run(ASKED)


def test_a_finished_run_answers_its_own_request_alone(finished):
    found = find_finished(resolve_run(ASKED, print))
    assert (found.fresh, found.record, found.folder) == (False, finished.record, finished.folder)
    assert found.pictures == sorted(finished.pictures)
    assert found.validation_mae == finished.record["selection"]["validation_mae"]
    for changes in ({"seed": 1}, {"epochs": 2}, {"no_test": True}, {"overrides": OVERRIDES[:2]}):
        asked = dataclasses.replace(ASKED, **changes)
        assert find_finished(resolve_run(asked, print)) is None


def change(outcome, edit):
    """The record of the run, changed; what was read of it before is forgotten."""
    record = json.loads(outcome.record_file.read_text())
    edit(record)
    outcome.record_file.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("weights", "known"),
    [
        ({"source": "random", "sha256": None}, True),
        ({"source": "random", "sha256": None, "wanted": "vgg16_bn"}, False),
        ({"source": "vgg16-imagenet", "sha256": "a" * 64}, False),
    ],
)
def test_a_run_from_weights_that_are_not_here_answers_nothing(finished, weights, known):
    """It must be started to know what it would begin with."""
    change(finished, lambda record: record.update(weights=weights))
    assert (find_finished(resolve_run(ASKED, print)) is not None) == known


def test_a_run_of_a_budget_answers_where_its_steps_were_fixed(bench, monkeypatch):
    for name, value in {"MEASURING": 1000.0, "FEWEST_STEPS": 1}.items():
        monkeypatch.setattr(f"cellbench.engine.budget.{name}", value)
    asked = dataclasses.replace(ASKED, epochs=None, budget_s=3.0)
    first = run(asked)
    assert find_finished(resolve_run(asked, print)).record == first.record
    again = dataclasses.replace(asked, resume=False)
    assert find_finished(resolve_run(again, print)) is None
    (first.folder / "plan.json").unlink()
    assert find_finished(resolve_run(asked, print)) is None


def test_a_record_is_copied_beside_its_own_weights_alone(finished):
    copy, plan = finished.folder / "record.json", finished.folder / "plan.json"
    copy.unlink()
    plan.write_text('{"iterations": 99}')  # a training of another length is at work here
    copy_record(finished.record, finished.record_file, finished.folder)
    assert not copy.exists()
    plan.unlink()
    outcome = finished_outcome(finished.record, finished.record_file, finished.folder)
    assert copy.read_bytes() == finished.record_file.read_bytes()
    assert outcome.pictures
    assert not outcome.fresh
