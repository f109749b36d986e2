"""Length of a run: its number of steps, and the steps after which it validates."""

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cellbench.config.schema import ScheduleConfig
from cellbench.engine.stages import spans
from cellbench.files.reading import MAX_SMALL_BYTES, read_json
from cellbench.files.writing import write_atomically
from cellbench.models.counter import Stage
from cellbench.records.run_files import PLAN

ONE_STAGE = (Stage("training"),)

_MOST_STEPS = 10**9
_SECONDS = ("step_s", "validation_s", "test_s", "start_s")


@dataclass(frozen=True, slots=True)
class StepTimings:
    """Measured durations that a budget is fitted to, in seconds.

    Attributes:
        step_s: one step, the mean over the stages by their shares.
        validation_s: one validation.
        test_s: the test part.
        start_s: everything before the first step.
        stage_s: one step of each stage.
    """

    step_s: float
    validation_s: float
    test_s: float
    start_s: float
    stage_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Length of a run, fixed before its first step.

    Attributes:
        iterations: training steps.
        validate_after: step counts after which the run validates, ascending.
        timings: that a budget was fitted to; used only to estimate the time left.
    """

    iterations: int
    validate_after: tuple[int, ...]
    timings: StepTimings | None = field(default=None, compare=False)


def make_plan(
    iterations: int,
    schedule: ScheduleConfig,
    stages: Sequence[Stage] = ONE_STAGE,
    timings: StepTimings | None = None,
) -> Plan:
    """Return a plan with validations spread evenly from the first one to the last step.

    The first one is in the last stage, after its share `first_validation`.
    """
    begin = spans(stages, iterations)[-1].first
    first = begin + max(1, round(schedule.first_validation * (iterations - begin)))
    count = min(schedule.validations, iterations - first + 1)
    if count == 1:
        return Plan(iterations, (iterations,), timings)
    span = (iterations - first) / (count - 1)
    moments = {round(first + index * span) for index in range(count)}
    return Plan(iterations, tuple(sorted(moments)), timings)


def effort(plan: Plan, stages: Sequence[Stage] = ONE_STAGE) -> Callable[[int], float]:
    """Return a function from a number of first steps to their duration, validations included.

    Args:
        plan: of the run.
        stages: of the method.

    Returns:
        Seconds by the number of steps, from the timings of the plan; without timings the number
        of steps itself. Both serve for the time left, which is a ratio.
    """
    timings = plan.timings
    if timings is None or len(timings.stage_s) != len(stages) or not min(timings.stage_s) > 0:
        return float
    stage_spans = spans(stages, plan.iterations)

    def seconds(done: int) -> float:
        steps = (max(0, min(done, span.stop) - span.first) for span in stage_spans)
        validations = bisect_right(plan.validate_after, done)
        return validations * timings.validation_s + sum(
            number * step_s for number, step_s in zip(steps, timings.stage_s, strict=True)
        )

    return seconds


# Share of a budget that is planned; two per cent are reserved for checkpoints and the record.
_PLANNED = 0.98

# Largest share of the remaining budget for validation.
_VALIDATING = 0.25


def fit_budget(
    budget_s: float,
    timings: StepTimings,
    schedule: ScheduleConfig,
    stages: Sequence[Stage] = ONE_STAGE,
) -> Plan:
    """Compute the plan that fits a wall-clock budget; validations are dropped before steps.

    Args:
        budget_s: seconds from the start of the command to its row.
        timings: of a step, a validation, the test and the start.
        schedule: gives the largest number of validations.
        stages: of the method.

    Returns:
        At least one step and one validation, whatever the budget.
    """
    remaining_s = _PLANNED * budget_s - timings.start_s - timings.test_s
    validations = schedule.validations
    if timings.validation_s > 0:
        most = int(_VALIDATING * remaining_s / timings.validation_s)
        validations = min(validations, max(1, most))
    iterations = max(1, int((remaining_s - validations * timings.validation_s) / timings.step_s))
    return make_plan(iterations, replace(schedule, validations=validations), stages, timings)


def budget_for(
    iterations: int, timings: StepTimings, schedule: ScheduleConfig, *, measuring: float
) -> float:
    """Estimate the budget in seconds for a number of steps, with the validations of `fit_budget`.

    Args:
        iterations: steps.
        timings: of the machine.
        schedule: gives the largest number of validations.
        measuring: share of a budget for measuring; a longer budget measures for longer.
    """
    steps_s, validation_s = iterations * timings.step_s, timings.validation_s
    needed_s = min(
        steps_s + schedule.validations * validation_s,
        max(steps_s + validation_s, steps_s / (1 - _VALIDATING)),
    )
    return (timings.start_s + timings.test_s + needed_s) / (_PLANNED - measuring)


def read_plan(
    folder: Path, schedule: ScheduleConfig, stages: Sequence[Stage] = ONE_STAGE
) -> Plan | None:
    """Load the plan that an earlier start of this run stored; None if there is no valid one."""
    try:
        content = read_json(folder / PLAN, most=MAX_SMALL_BYTES)
        iterations, validations = content["iterations"], content["validations"]
        seconds = content["measured"]
        timings = StepTimings(**seconds | {"stage_s": tuple(seconds.get("stage_s", ()))})
        _check_plan(iterations, validations, timings)
        schedule = replace(schedule, validations=validations)
        return make_plan(iterations, schedule, stages, timings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _check_plan(iterations: object, validations: object, timings: StepTimings) -> None:
    """Validate the numbers of a stored plan.

    Raises:
        ValueError: a number of steps, validations or seconds is out of range.
    """
    for number in (iterations, validations):
        if type(number) is not int or not 1 <= number <= _MOST_STEPS:
            raise ValueError(f"{number!r} steps or validations")
    for seconds in (*(getattr(timings, name) for name in _SECONDS), *timings.stage_s):
        if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
            raise ValueError(f"{seconds!r} seconds")


def keep_plan(folder: Path, plan: Plan, timings: StepTimings) -> None:
    """Store the plan and its timings atomically."""
    content = {
        "iterations": plan.iterations,
        "validations": len(plan.validate_after),
        "measured": asdict(timings),
    }
    write_atomically(folder / PLAN, json.dumps(content).encode())
