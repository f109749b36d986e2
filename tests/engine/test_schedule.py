import json

import pytest

from cellbench.config.schema import ScheduleConfig
from cellbench.engine.schedule import (
    StepTimings,
    budget_for,
    effort,
    fit_budget,
    keep_plan,
    make_plan,
    read_plan,
)
from cellbench.engine.stages import spans
from cellbench.models.counter import Stage


@pytest.mark.parametrize("iterations", [1, 2, 3, 10, 97, 5000])
@pytest.mark.parametrize("validations", [1, 2, 10, 50])
def test_the_last_validation_is_after_the_last_step(iterations, validations):
    plan = make_plan(iterations, ScheduleConfig(validations=validations))
    assert plan.validate_after[-1] == iterations
    assert len(plan.validate_after) == len(set(plan.validate_after)) <= validations
    assert list(plan.validate_after) == sorted(plan.validate_after)
    assert plan.validate_after[0] >= 1


def test_validations_are_spread_evenly_from_the_first():
    plan = make_plan(1000, ScheduleConfig(validations=4, first_validation=0.4))
    assert plan.validate_after == (400, 600, 800, 1000)


def test_a_budget_is_what_steps_validations_and_test_take():
    schedule = ScheduleConfig(validations=5)
    took = StepTimings(step_s=0.5, validation_s=4.0, test_s=10.0, start_s=20.0)
    plan = fit_budget(600, took, schedule)
    assert 0.96 * 600 <= plan.iterations * 0.5 + 5 * 4 + 10 + 20 <= 600
    assert len(plan.validate_after) == 5
    assert fit_budget(1, took, schedule).validate_after == (1,)


def test_a_short_budget_gives_up_validations_before_steps():
    slow = StepTimings(step_s=1.0, validation_s=20.0, test_s=30.0, start_s=10.0)
    plan = fit_budget(240, slow, ScheduleConfig(validations=10))
    spent = plan.iterations * 1.0 + len(plan.validate_after) * 20 + 40
    assert spent <= 240
    assert plan.iterations >= 0.7 * (240 - 40)
    assert plan.validate_after[-1] == plan.iterations


def test_a_protocol_without_validation_gets_all_its_time_for_steps():
    took = StepTimings(step_s=1.0, validation_s=0.0, test_s=0.0, start_s=0.0)
    assert fit_budget(100, took, ScheduleConfig()).iterations == 98


def test_the_plan_is_fixed_once(tmp_path):
    schedule = ScheduleConfig(validations=10)
    assert read_plan(tmp_path, schedule) is None
    plan = make_plan(321, ScheduleConfig(validations=3))
    keep_plan(tmp_path, plan, StepTimings(1, 1, 1, 1))
    assert read_plan(tmp_path, schedule) == plan
    (tmp_path / "plan.json").write_text("{")
    assert read_plan(tmp_path, schedule) is None


@pytest.mark.parametrize("iterations", [2, 3, 10, 997])
def test_validations_lie_in_the_last_stage(iterations):
    stages = (Stage("trunk", share=3.0), Stage("policy", share=1.0))
    plan = make_plan(iterations, ScheduleConfig(first_validation=0.0), stages)
    assert plan.validate_after[0] > spans(stages, iterations)[-1].first
    assert plan.validate_after[-1] == iterations


def test_the_effort_of_steps_counts_stages_and_looks():
    stages = (Stage("trunk"), Stage("policy", share=3.0))
    took = StepTimings(1.0, 5.0, 0.0, 0.0, stage_s=(4.0, 0.5))
    plan = make_plan(40, ScheduleConfig(validations=2, first_validation=0.5), stages, took)
    assert plan.validate_after == (25, 40)
    seconds = effort(plan, stages)
    assert [seconds(n) for n in (0, 1, 10, 12, 25, 40)] == [0, 4, 40, 41, 52.5, 65]


def test_without_a_measurement_the_effort_is_the_number_of_steps():
    assert effort(make_plan(40, ScheduleConfig()))(7) == 7
    unknown = StepTimings(0.0, 0.0, 0.0, 0.0, stage_s=(0.0,))
    assert effort(make_plan(40, ScheduleConfig(), timings=unknown))(7) == 7


def test_what_was_measured_is_known_again_after_an_interruption(tmp_path):
    took = StepTimings(1.0, 5.0, 2.0, 3.0, stage_s=(4.0, 0.5))
    plan = make_plan(40, ScheduleConfig(), timings=took)
    keep_plan(tmp_path, plan, took)
    assert read_plan(tmp_path, ScheduleConfig()).timings == took


@pytest.mark.parametrize("looks", [1, 2, 10])
@pytest.mark.parametrize("validation_s", [0.0, 0.5, 60.0, 300.0])
@pytest.mark.parametrize("step_s", [0.01, 2.0, 20.0])
def test_the_least_budget_for_so_many_steps_has_them_and_hardly_more(step_s, validation_s, looks):
    schedule = ScheduleConfig(validations=looks)
    timings = StepTimings(step_s, validation_s, test_s=9.0, start_s=12.0)
    enough = budget_for(50, timings, schedule, measuring=0.0)
    assert fit_budget(enough + 1e-6, timings, schedule).iterations >= 50
    # a validation more or less is all that it may have too much
    assert fit_budget(enough - validation_s - 2 * step_s, timings, schedule).iterations < 50


def test_measuring_has_its_share_of_the_budget_too():
    timings = StepTimings(1.0, 0.0, test_s=9.0, start_s=12.0)
    budget = budget_for(50, timings, ScheduleConfig(), measuring=0.1)
    assert budget * (0.98 - 0.1) == pytest.approx(50 + 9 + 12)


@pytest.mark.parametrize("looks", [1, 3])
@pytest.mark.parametrize("iterations", [1, 2, 321])
def test_a_plan_of_any_length_is_read_again(tmp_path, iterations, looks):
    plan = make_plan(iterations, ScheduleConfig(validations=looks))
    keep_plan(tmp_path, plan, StepTimings(0, 0, 0, 0))
    assert read_plan(tmp_path, ScheduleConfig(validations=10)) == plan


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("iterations", 0), ("iterations", -5), ("iterations", 1.5), ("iterations", True),
        ("iterations", 10**9 + 1), ("validations", 0), ("validations", "3"), ("step_s", -0.1),
        ("test_s", float("inf")), ("start_s", float("nan")), ("validation_s", None),
        ("stage_s", [-1.0]),
    ],
)  # fmt: skip
def test_a_plan_that_no_run_has_is_none(tmp_path, key, value):
    plan = make_plan(20, ScheduleConfig(validations=3))
    keep_plan(tmp_path, plan, StepTimings(1, 1, 1, 1, (1.0,)))
    file = tmp_path / "plan.json"
    kept = json.loads(file.read_text())
    (kept if key in kept else kept["measured"])[key] = value
    file.write_text(json.dumps(kept))
    assert read_plan(tmp_path, ScheduleConfig(validations=3)) is None


def test_the_effort_of_one_stage_is_measured_too_and_of_another_number_is_not():
    took = StepTimings(2.0, 0.0, 0.0, 0.0, stage_s=(2.0,))
    plan = make_plan(40, ScheduleConfig(validations=1), timings=took)
    assert effort(plan)(7) == 14
    two = (Stage("trunk"), Stage("policy"))
    assert effort(plan, two)(7) == 7


def test_a_single_validation_is_at_the_end():
    assert make_plan(100, ScheduleConfig(validations=1)).validate_after == (100,)
    plan = make_plan(3, ScheduleConfig(validations=9, first_validation=0.0))
    assert plan.validate_after == (1, 2, 3)
