"""Cross-validation of the methods of a recommendation within its time budget."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cellbench.data.splits import SPLITS
from cellbench.recommending.choice import RACE, Units
from cellbench.recommending.evidence import clearly_worse
from cellbench.recommending.folds import CandidateResults, Runner

MIN_FOLDS = 2
"""Fewest folds before a method is dropped for its error, and fewest of a learning curve."""

# Share of the budget for the folds and the learning curve.
_CURVE = 0.72
# Shortest time per fold in which a network can be trained at all.
_LEAST_FOLD_S = 20.0
# Time per fold that a network gets before the next one is tried.
_WORTHWHILE_S = 80.0


@dataclass(frozen=True, slots=True)
class Budget:
    """Time of a recommendation: for the folds, the learning curve, and the last training.

    Attributes:
        seconds: time for all three.
        began: monotonic time at the start of the command.
    """

    seconds: float
    began: float

    @property
    def folds_end(self) -> float:
        """Deadline of the folds, monotonic time."""
        return self.began + RACE * self.seconds

    @property
    def curve_end(self) -> float:
        """Deadline of the learning curve, monotonic time."""
        return self.began + _CURVE * self.seconds

    def left_s(self) -> float:
        """Return the time left; negative if more was used."""
        return self.began + self.seconds - time.monotonic()


def run_all_folds(
    runner: Runner,
    one: CandidateResults,
    budget: Budget,
    say: Callable[[str], None],
    *,
    first: bool = False,
) -> None:
    """Run a baseline or kept model on every fold, unless they would exceed the budget.

    Args:
        runner: runner of its folds.
        one: the method.
        budget: time of the command; `needs_s` includes the start and other methods.
        say: function that takes progress messages.
        first: whether its first fold runs in any case.
    """
    for split in SPLITS:
        fold_s = float(np.mean(one.seconds)) if one.seconds else 0.0
        ends = time.monotonic() + (len(SPLITS) - split) * fold_s
        if ends > budget.folds_end and (split or not first):
            one.needs_s = ends - budget.began if one.seconds else 0.0
            one.out = f"Its {len(SPLITS)} folds do not fit the time; give a longer --budget."
        else:
            runner.run(one, split)
        if one.out:
            say(f"{one.candidate.name} is left out. {one.out}")
            return
    say(f"{one.candidate.name}: {one.mae:.2f} cells off on average.")


def race_networks(
    runner: Runner,
    networks: Sequence[CandidateResults],
    untrained: Sequence[CandidateResults],
    units: Units,
    budget: Budget,
    say: Callable[[str], None],
) -> None:
    """Train networks fold by fold; drop those that are clearly worse than the best method so far.

    Args:
        runner: runner of the folds.
        networks: in the order of their priority when time is short.
        untrained: baselines and kept models with the results of their folds.
        units: group of each picture.
        budget: time of the command.
        say: function that takes progress messages.
    """
    for split in SPLITS:
        for place, one in enumerate(networks):
            if not one.out:
                _set_fold_time(one, networks[:place], len(networks) - place, budget)
            if one.out:
                continue
            runner.run(one, split)
            if one.out:
                say(f"{one.candidate.name} is left out. {one.out}")
                continue
            say(f"{one.candidate.name}, fold {split + 1} of {len(SPLITS)}: {one.mae:.2f} cells off "
                "on average so far.")  # fmt: skip
            if split + 1 < MIN_FOLDS:
                continue
            left = [method for method in (*untrained, *networks) if not method.out]
            best = min(left, key=lambda method: _mae_on_same(method, one))
            if clearly_worse(one.errors, best.errors, units, one.cells):
                one.out = (
                    f"Clearly worse than {best.candidate.name} after {split + 1} of "
                    f"{len(SPLITS)} folds."
                )
                say(f"{one.candidate.name} is given up. {one.out}")


def _set_fold_time(
    one: CandidateResults, before: Sequence[CandidateResults], remaining: int, budget: Budget
) -> None:
    """Set the time for each fold of a network, or the reason in `out` if there is none left.

    Time is reserved for the further folds of the networks before it. Of the rest a network gets an
    equal share, or `_WORTHWHILE_S` if that is more: earlier networks have priority.

    Args:
        one: the network.
        before: networks before it.
        remaining: number of networks without these, itself included.
        budget: time of the command.
    """
    left_s = budget.folds_end - time.monotonic()
    if one.budget_s is not None:
        if left_s < one.budget_s / 2:
            one.out = "There was no time for its other folds; give a longer --budget."
        return
    kept = [other for other in before if not other.out]
    reserved = sum((other.budget_s or 0) * (len(SPLITS) - 1) for other in kept)
    alone = (left_s - reserved) / len(SPLITS)
    share = max(alone / remaining, min(alone, _WORTHWHILE_S))
    if share < _LEAST_FOLD_S:
        one.out = "There is no time left for it; give a longer --budget."
    else:
        one.budget_s = float(round(share))


def _mae_on_same(one: CandidateResults, other: CandidateResults) -> float:
    """Return a method's MAE on the tested pictures of another; infinite if it lacks one."""
    mine, wanted = one.errors, other.errors
    shared = [mine[i] for i in wanted if i in mine]
    return float(np.mean(shared)) if len(shared) == len(wanted) else np.inf
