import pytest

from cellbench.config import ScheduleConfig
from cellbench.engine.plan import Measured, fit_budget, keep_iterations, make_plan, read_iterations


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
    took = Measured(step_s=0.5, validation_s=4.0, test_s=10.0, start_s=20.0)
    steps = fit_budget(600, took, schedule)
    assert 0.96 * 600 <= steps * 0.5 + 5 * 4 + 10 + 20 <= 600
    assert fit_budget(1, took, schedule) == 1


def test_the_number_of_steps_is_fixed_once(tmp_path):
    assert read_iterations(tmp_path) is None
    keep_iterations(tmp_path, 321, Measured(1, 1, 1, 1))
    assert read_iterations(tmp_path) == 321
    (tmp_path / "plan.json").write_text("{")
    assert read_iterations(tmp_path) is None
