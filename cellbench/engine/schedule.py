"""The number of steps of a run, and the steps after which it validates."""

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
    """Durations that a budget is fitted to, in seconds.

    Attributes:
        step_s: a step, the mean over the stages by their shares.
        validation_s: a look at the validation images.
        test_s: the test part.
        start_s: everything before the first step.
        stage_s: a step of each stage.
    """

    step_s: float
    validation_s: float
    test_s: float
    start_s: float
    stage_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The length of a run, fixed before its first step.

    Attributes:
        iterations: training steps.
        validate_after: step counts after which the validation images are read, ascending.
        timings: what a budget was fitted with; it decides nothing any more, but gives the time
            that is left.
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
    """Spread the validations evenly from the first to the end of the last stage."""
    begin = spans(stages, iterations)[-1].first
    first = begin + max(1, round(schedule.first_validation * (iterations - begin)))
    count = min(schedule.validations, iterations - first + 1)
    if count == 1:
        return Plan(iterations, (iterations,), timings)
    span = (iterations - first) / (count - 1)
    moments = {round(first + index * span) for index in range(count)}
    return Plan(iterations, tuple(sorted(moments)), timings)


def effort(plan: Plan, stages: Sequence[Stage] = ONE_STAGE) -> Callable[[int], float]:
    """Seconds that the first steps of a run take, validations included.

    Args:
        plan: of the run.
        stages: of the method.

    Returns:
        Seconds by the number of steps, as they were measured; the number of steps itself where
        nothing was measured. For the time left, which is a ratio, both will do.
    """
    took = plan.timings
    if took is None or len(took.stage_s) != len(stages) or not min(took.stage_s) > 0:
        return float
    cut = spans(stages, plan.iterations)

    def seconds(done: int) -> float:
        steps = (max(0, min(done, span.stop) - span.first) for span in cut)
        looks = bisect_right(plan.validate_after, done)
        return looks * took.validation_s + sum(
            number * each for number, each in zip(steps, took.stage_s, strict=True)
        )

    return seconds


# Two per cent of a budget are kept back for checkpoints and the record.
_USED = 0.98

# Most of a budget that may go into validation.
_LOOKING = 0.25


def fit_budget(
    budget_s: float,
    timings: StepTimings,
    schedule: ScheduleConfig,
    stages: Sequence[Stage] = ONE_STAGE,
) -> Plan:
    """The steps that fit a wall-clock budget; validations are dropped before steps.

    Args:
        budget_s: seconds from the start of the command to its row.
        timings: what a step, a validation, the test and the start take.
        schedule: says how many validations there are at most.
        stages: of the method.

    Returns:
        At least one step and one validation, whatever the budget.
    """
    left = _USED * budget_s - timings.start_s - timings.test_s
    looks = schedule.validations
    if timings.validation_s > 0:
        looks = min(looks, max(1, int(_LOOKING * left / timings.validation_s)))
    iterations = max(1, int((left - looks * timings.validation_s) / timings.step_s))
    return make_plan(iterations, replace(schedule, validations=looks), stages, timings)


def budget_for(
    iterations: int, timings: StepTimings, schedule: ScheduleConfig, *, measuring: float
) -> float:
    """A budget into which so many steps fit, beside the validations that `fit_budget` gives it.

    Args:
        iterations: steps.
        timings: of the machine.
        schedule: gives the most validations.
        measuring: share of a budget that measuring may take; a longer budget measures for longer.

    Returns:
        Seconds.
    """
    steps_s, look_s = iterations * timings.step_s, timings.validation_s
    needed_s = min(
        steps_s + schedule.validations * look_s,
        max(steps_s + look_s, steps_s / (1 - _LOOKING)),
    )
    return (timings.start_s + timings.test_s + needed_s) / (_USED - measuring)


def read_plan(
    folder: Path, schedule: ScheduleConfig, stages: Sequence[Stage] = ONE_STAGE
) -> Plan | None:
    """The plan that an earlier start of this run fixed; None if it did not get there."""
    try:
        kept = read_json(folder / PLAN, most=MAX_SMALL_BYTES)
        iterations, looks = kept["iterations"], kept["validations"]
        took = kept["measured"]
        took = StepTimings(**took | {"stage_s": tuple(took.get("stage_s", ()))})
        _check_kept(iterations, looks, took)
        return make_plan(iterations, replace(schedule, validations=looks), stages, took)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _check_kept(iterations: object, looks: object, timings: StepTimings) -> None:
    """Check what a file gives as a plan.

    Raises:
        ValueError: a number of steps or seconds that no run has.
    """
    for number in (iterations, looks):
        if type(number) is not int or not 1 <= number <= _MOST_STEPS:
            raise ValueError(f"{number!r} steps or validations")
    for seconds in (*(getattr(timings, name) for name in _SECONDS), *timings.stage_s):
        if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
            raise ValueError(f"{seconds!r} seconds")


def keep_plan(folder: Path, plan: Plan, timings: StepTimings) -> None:
    """Store the fixed plan, whole or not at all."""
    kept = {
        "iterations": plan.iterations,
        "validations": len(plan.validate_after),
        "measured": asdict(timings),
    }
    write_atomically(folder / PLAN, json.dumps(kept).encode())
