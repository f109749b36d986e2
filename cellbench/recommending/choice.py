"""Choice of the recommended method from cross-validated errors and costs."""

from collections.abc import Sequence

import numpy as np

from cellbench.config.run_length import budget_text, rounded_budget
from cellbench.durations import rough_duration
from cellbench.errors import RunError, UserError
from cellbench.recommending.evidence import as_good_as_best, nearly_best
from cellbench.recommending.folds import CandidateResults

RACE = 0.6
"""Share of the budget for cross-validation."""

Units = dict[str, str]
"""Group of each picture by its id; the id itself if it has none."""


def choose(
    raced: Sequence[CandidateResults], units: Units
) -> tuple[CandidateResults, list[CandidateResults]]:
    """Choose the cheapest method within one standard error of the best.

    Args:
        raced: all methods with the results of their folds.
        units: group of each picture.

    Returns:
        The chosen method, and all that do not differ significantly from the best.

    Raises:
        UserError: the folds of no method fitted in the budget.
        RunError: no method could be trained.
    """
    whole = [one for one in raced if one.images and not one.out and not one.candidate.control]
    if not whole:
        short = [one for one in raced if one.needs_s and not one.candidate.control]
        if short:
            least = min(short, key=lambda one: one.needs_s)
            budget = budget_text(rounded_budget(least.needs_s / RACE))
            raise UserError(
                f"The start and the folds of {least.candidate.name} take about "
                f"{rough_duration(least.needs_s)} here; give --budget {budget} or more."
            )
        reasons = [f"{one.candidate.name}: {one.out.rstrip('.')}" for one in raced if one.out]
        raise RunError(f"No method could be trained on all folds ({'; '.join(reasons)[:600]}).")
    errors = {one.candidate.name: one.errors for one in whole}
    good = as_good_as_best(errors, units, whole[0].cells)
    finalists = [one for one in whole if good[one.candidate.name]]
    best = min(finalists, key=lambda one: one.mae)
    near = [one for one in finalists if nearly_best(one.errors, best.errors, units, one.cells)]
    return min([best, *near], key=lambda one: (*_cost(one), one.mae)), finalists


def _cost(one: CandidateResults) -> tuple[bool, int, bool]:
    """Return a sort key: kept models first, then training time in half minutes, then `steady`."""
    halves = round(float(np.mean(one.seconds)) / 30)
    return not one.candidate.kept, halves, not one.candidate.steady
