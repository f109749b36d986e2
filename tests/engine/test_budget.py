"""The length of a run: budgets that are met or refused, and methods without steps."""

import dataclasses
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from cellbench.config.run_length import budget_text, rounded_budget
from cellbench.config.schema import ScheduleConfig
from cellbench.engine import budget
from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.engine.schedule import StepTimings, budget_for, fit_budget
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.records.model import Record

# A trunk without its deep stages and two crops a step.
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
    base = Request("configs/dla_adi.py", dataset="adi-sim", protocol="smoke", overrides=SMALL)
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize("validation_s", [0.0, 0.01, 3.0, 200.0])
@pytest.mark.parametrize("step_s", [0.005, 1.0, 20.0])
@pytest.mark.parametrize("validations", [1, 10])
def test_the_budget_that_is_asked_for_has_time_for_the_steps(step_s, validation_s, validations):
    timings = StepTimings(step_s, validation_s, test_s=9.0, start_s=12.0)
    schedule = ScheduleConfig(validations=validations)
    # A longer budget measures for longer: up to a tenth of it.
    enough = rounded_budget(budget_for(50, timings, schedule, measuring=0.1))
    later = dataclasses.replace(timings, start_s=timings.start_s + 0.1 * enough)
    assert fit_budget(enough, later, schedule).iterations >= 50
    fixed = 12.0 + 9.0 + validation_s + 50 * step_s
    assert fit_budget(fixed, timings, schedule).iterations < 50


def test_a_budget_of_too_few_steps_is_refused_with_one_that_suffices(bench, monkeypatch):
    timings = StepTimings(3.0, 20.0, test_s=30.0, start_s=25.0, stage_s=(3.0,))
    monkeypatch.setattr(budget, "_measure", lambda *given: timings)
    with pytest.raises(UserError) as caught:
        run(request(budget_s=60.0))
    said = str(caught.value)
    assert "\n" not in said
    assert "A step takes 3 s here, so that hardly one of them fit --budget 1m" in said
    [asked] = re.findall(r"give --budget ([0-9.]+[smh]) or more", said)
    from cellbench.cli.run import Duration

    seconds = Duration().convert(asked, None, None)
    assert fit_budget(seconds, timings, ScheduleConfig(validations=2)).iterations >= 50
    assert re.search(r"all \d+ steps take about \d+ (s|min)|h\.", said)
    assert not list(bench.rglob("plan.json"))


def test_only_the_first_of_several_processes_gives_the_reason(bench, monkeypatch):
    from cellbench.engine.assembly import make_training, prepare, start_counter
    from cellbench.engine.devices import Processes
    from cellbench.engine.request import resolve_run

    timings = StepTimings(3.0, 20.0, test_s=30.0, start_s=25.0, stage_s=(3.0,))
    monkeypatch.setattr(budget, "_measure", lambda *given: timings)
    prepared = prepare(resolve_run(request(budget_s=60.0), print))
    training = make_training(prepared, start_counter(prepared, print), bench / "run")
    second = dataclasses.replace(prepared, processes=Processes(1, 2))
    with pytest.raises(SystemExit) as caught:
        budget.plan_run(second, training, 0.0, Display())
    assert caught.value.code == 2


def test_measuring_leaves_the_counter_as_it_is_and_shows_that_it_goes_on(bench, monkeypatch):
    from cellbench.engine.assembly import make_training, prepare, start_counter
    from cellbench.engine.request import resolve_run

    monkeypatch.setattr(budget, "FEWEST_STEPS", 1)
    prepared = prepare(resolve_run(request(budget_s=600.0), print))
    counter = start_counter(prepared, print)
    before = {name: value.clone() for name, value in counter.state_dict().items()}
    learning = [p.requires_grad for p in counter.parameters()]
    said, tasks = [], Tasks()
    training = make_training(prepared, counter, bench / "run")
    display = Display(say=said.append, task=tasks.task)
    plan = budget.plan_run(prepared, training, budget.time.monotonic(), display)
    assert plan.iterations > 0
    assert all(torch.equal(value, before[name]) for name, value in counter.state_dict().items())
    assert [p.requires_grad for p in counter.parameters()] == learning
    assert said[0] == "Timing the first steps, for at most 60 s."
    assert tasks.totals["measuring"] == 60.0
    assert tasks.done["measuring"] > 0
    assert plan.timings.step_s > 0
    assert plan.timings.validation_s > 0
    # The plan is fixed: a second start measures nothing.
    monkeypatch.setattr(budget, "_measure", lambda *given: pytest.fail("measured again"))
    assert budget.plan_run(prepared, training, 0.0, display) == plan


class Tasks:
    """Records what a run shows beside its steps."""

    def __init__(self):
        self.totals, self.done = {}, {}

    @contextmanager
    def task(self, label, total) -> Iterator:
        self.totals[label] = total

        def advance(done):
            self.done[label] = self.done.get(label, 0) + done

        yield advance


def test_validation_and_scoring_show_how_far_they_are(bench):
    tasks = Tasks()
    outcome = run(request(epochs=1), Display(task=tasks.task))
    looks = len(outcome.record["curve"])
    assert tasks.totals["scoring"] == tasks.done["scoring"] == len(outcome.record["images"])
    assert tasks.done["validation"] == looks * tasks.totals["validation"] > 0


@pytest.mark.parametrize(
    ("seconds", "rounded"),
    [(3, 10), (50, 60), (110, 180), (400, 480), (3400, 5400), (7200, 9000)],
)
def test_a_budget_is_rounded_up_to_what_people_type(seconds, rounded):
    assert rounded_budget(seconds) == rounded


@pytest.mark.parametrize(
    ("seconds", "text"), [(30, "30s"), (60, "1m"), (90, "1.5m"), (5400, "1.5h"), (47.5, "47.5s")]
)
def test_a_budget_is_written_as_it_is_read(seconds, text):
    from cellbench.cli.run import Duration

    assert budget_text(seconds) == text
    assert Duration().convert(text, None, None) == seconds


def test_a_long_budget_is_rounded_too():
    assert math.isfinite(rounded_budget(1e7))


def test_a_method_without_steps_is_one_run_whatever_its_length(bench):
    begun, said = [], []
    display = Display(start=lambda *told: begun.append(told), say=said.append)
    asked = {"dataset": "adi-sim", "protocol": "smoke"}
    first = run(Request("configs/methods/meancount.py", **asked), display)
    assert begun == []
    assert "MeanCount is not trained by steps." in said
    assert first.record["config"]["schedule"]["budget_s"] is None
    for length in ({"epochs": 3}, {"budget_s": 60.0}):
        again = run(Request("configs/methods/meancount.py", **asked, **length))
        assert not again.fresh
        assert again.record == first.record


@pytest.mark.parametrize(("step", "shown"), [(0, "-"), (40, "1352")])
def test_the_row_of_a_method_without_steps_shows_none(step, shown):
    from record_samples import sample_record

    from cellbench.cli.progress import row_table

    record = sample_record()
    record["iterations"] = 1352
    record["selection"]["step"] = step
    table = row_table(record, width=200)
    [column] = [c for c in table.columns if c.header == "steps"]
    assert [str(cell) for cell in column.cells] == [shown]


def test_the_row_of_a_changed_method_names_the_change_and_has_its_interval():
    from record_samples import sample_record
    from rich.console import Console

    from cellbench.cli.progress import row_table
    from cellbench.ranking.rows import experiment_rows
    from cellbench.records.summaries import summarise

    record = sample_record(method="DLA[model.matcher.k=3]")
    console = Console(width=200)
    with console.capture() as shown:
        console.print(row_table(record, width=200))
    assert "DLA[k=3]" in shown.get()
    assert "6 images" in shown.get()
    parsed = Record.parse(record | {"points": None, "content_hash": "x"}, "It")
    (row,) = experiment_rows([[summarise(parsed, Path("record.json"))]])
    assert f"{row.mae_low:.1f}–{row.mae_high:.1f}" in shown.get()


def test_the_row_of_a_run_is_cut_to_the_columns_that_fit():
    from record_samples import sample_record

    from cellbench.cli.progress import row_table

    wide, narrow = (
        [str(column.header) for column in row_table(sample_record(), width=width).columns]
        for width in (200, 60)
    )
    assert {"method", "MAE", "RMSE", "F1", "weights", "images/s", "steps"} <= set(wide)
    assert narrow[:2] == ["method", "MAE"]
    assert not {"weights", "images/s", "split"} & set(narrow)
