"""How many steps a run takes and when it looks at the validation images."""

import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cellbench.config import ScheduleConfig
from cellbench.data.files import write_atomically
from cellbench.engine.stages import spans
from cellbench.models.counter import Stage

ONE_STAGE = (Stage("training"),)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the first steps took, in seconds.

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
        measured: what a budget was fitted with; it decides nothing any more, but says how long
            the rest will take.
    """

    iterations: int
    validate_after: tuple[int, ...]
    measured: Measured | None = field(default=None, compare=False)


def make_plan(
    iterations: int,
    schedule: ScheduleConfig,
    stages: Sequence[Stage] = ONE_STAGE,
    measured: Measured | None = None,
) -> Plan:
    """Spread the validations evenly from the first to the end of the last stage."""
    begin = spans(stages, iterations)[-1].first
    first = begin + max(1, round(schedule.first_validation * (iterations - begin)))
    count = min(schedule.validations, iterations - first + 1)
    if count == 1:
        return Plan(iterations, (iterations,), measured)
    span = (iterations - first) / (count - 1)
    moments = {round(first + index * span) for index in range(count)}
    return Plan(iterations, tuple(sorted(moments)), measured)


def effort(plan: Plan, stages: Sequence[Stage] = ONE_STAGE) -> Callable[[int], float]:
    """How long the first so many steps of a run take, looks at the validation images included.

    Args:
        plan: of the run.
        stages: of the method.

    Returns:
        Seconds by the number of steps, as they were measured; the number of steps itself where
        nothing was measured. For the time left, which is a ratio, both will do.
    """
    took = plan.measured
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


# Most of a budget that may go into looking at validation images.
_LOOKING = 0.25


def fit_budget(
    budget_s: float,
    measured: Measured,
    schedule: ScheduleConfig,
    stages: Sequence[Stage] = ONE_STAGE,
) -> Plan:
    """What a wall-clock budget allows; looks at the validation images give way before steps.

    Args:
        budget_s: seconds from the start of the command to its row.
        measured: what a step, a validation, the test and the start take.
        schedule: says how many validations there are at most.
        stages: of the method.

    Returns:
        At least one step and one validation, whatever the budget.
    """
    # Two per cent are kept back for checkpoints and the record.
    left = 0.98 * budget_s - measured.start_s - measured.test_s
    looks = schedule.validations
    if measured.validation_s > 0:
        looks = min(looks, max(1, int(_LOOKING * left / measured.validation_s)))
    iterations = max(1, int((left - looks * measured.validation_s) / measured.step_s))
    return make_plan(iterations, replace(schedule, validations=looks), stages, measured)


def read_plan(
    folder: Path, schedule: ScheduleConfig, stages: Sequence[Stage] = ONE_STAGE
) -> Plan | None:
    """The plan that an earlier start of this run fixed; None if it did not get there."""
    try:
        kept = json.loads((folder / "plan.json").read_text())
        iterations, looks = int(kept["iterations"]), int(kept["validations"])
        took = kept["measured"]
        took = Measured(**took | {"stage_s": tuple(map(float, took.get("stage_s", ())))})
        return make_plan(iterations, replace(schedule, validations=looks), stages, took)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_plan(folder: Path, plan: Plan, measured: Measured) -> None:
    """Store the fixed plan, whole or not at all."""
    kept = {
        "iterations": plan.iterations,
        "validations": len(plan.validate_after),
        "measured": asdict(measured),
    }
    write_atomically(folder / "plan.json", json.dumps(kept).encode())


def median(values: Sequence[float]) -> float:
    """The middle value."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
