"""How many steps a run takes and when it looks at the validation images."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cellbench.config import ScheduleConfig
from cellbench.data.files import write_atomically


@dataclass(frozen=True, slots=True)
class Plan:
    """The length of a run, fixed before its first step.

    Attributes:
        iterations: training steps.
        validate_after: step counts after which the validation images are read, ascending.
    """

    iterations: int
    validate_after: tuple[int, ...]


def make_plan(iterations: int, schedule: ScheduleConfig) -> Plan:
    """Spread the validations evenly from the first to the end of the run."""
    first = max(1, round(schedule.first_validation * iterations))
    count = min(schedule.validations, iterations - first + 1)
    if count == 1:
        return Plan(iterations, (iterations,))
    span = (iterations - first) / (count - 1)
    moments = {round(first + index * span) for index in range(count)}
    return Plan(iterations, tuple(sorted(moments)))


@dataclass(frozen=True, slots=True)
class Measured:
    """What the first steps took, in seconds."""

    step_s: float
    validation_s: float
    test_s: float
    start_s: float


def fit_budget(budget_s: float, measured: Measured, schedule: ScheduleConfig) -> int:
    """The number of steps that a wall-clock budget allows.

    Args:
        budget_s: seconds from the start of the command to its row.
        measured: what a step, a validation, the test and the start take.
        schedule: says how many validations there are.

    Returns:
        At least 1, whatever the budget.
    """
    # Two per cent are kept back for checkpoints and the record.
    left = 0.98 * budget_s - measured.start_s - measured.test_s
    left -= schedule.validations * measured.validation_s
    return max(1, int(left / measured.step_s))


def read_iterations(folder: Path) -> int | None:
    """The number of steps that an earlier start of this run fixed; None if it did not get there."""
    try:
        return int(json.loads((folder / "plan.json").read_text())["iterations"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_iterations(folder: Path, iterations: int, measured: Measured) -> None:
    """Store the fixed number of steps, whole or not at all."""
    plan = {"iterations": iterations, "measured": asdict(measured)}
    write_atomically(folder / "plan.json", json.dumps(plan).encode())


def median(values: Sequence[float]) -> float:
    """The middle value."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
