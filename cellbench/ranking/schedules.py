"""Whole schedule of a method, by which partial trainings are told from whole ones."""

from collections import Counter
from collections.abc import Iterator, Sequence

from cellbench.ranking.rows import base_method
from cellbench.records.summaries import Run

# A budget that ends within the last epoch is complete but for rounding.
_COMPLETE = 0.995


def usual_schedule(runs: Sequence[Run]) -> float | None:
    """Return the schedule of a method, in epochs.

    It is the most frequent one. Of several that are as frequent it is the longest that a run was
    trained for in whole, since any number can be stated; if there is none, the shortest. (Records
    older than `whole_epochs` state the requested epochs as their schedule, hence the most frequent
    one.)

    Args:
        runs: one run of every experiment of the method.

    Returns:
        None if no run states a schedule.
    """
    stated = [(run, run.schedule_epochs) for run in runs if run.schedule_epochs is not None]
    count = Counter(epochs for _, epochs in stated)
    tied = {epochs for epochs in count if count[epochs] == max(count.values())}
    whole = {n for run, n in stated if n in tied and trained_share(run.epochs, n) is None}
    return max(whole) if whole else min(tied, default=None)


def trained_share(epochs: float, schedule: float) -> float | None:
    """Return the trained share of a schedule, below 1; None for a whole training."""
    share = epochs / schedule
    return share if share < _COMPLETE else None


def odd_schedules(runs: Sequence[tuple[Run, int | None]]) -> Iterator[str]:
    """Yield a sentence for each record whose whole schedule is not that of most of its method.

    A method's schedule is in its config file, which a record does not hold, so this is no proof of
    a fault.

    Args:
        runs: runs of one set, each with the `whole_epochs` of its record.
    """
    counts: dict[tuple[str, int], Counter[float]] = {}
    for run, _ in runs:
        if run.schedule_epochs is not None:
            of_method = counts.setdefault((base_method(run.method), run.recipe), Counter())
            of_method[run.schedule_epochs] += 1
    for run, whole in runs:
        count = counts.get((base_method(run.method), run.recipe), Counter())
        others = {epochs: n for epochs, n in count.items() if epochs != whole}
        if whole is not None and others and count[whole] <= max(others.values()):
            known = " or ".join(f"{epochs:g}" for epochs in sorted(others))
            yield (
                f"{run.path} states {whole} epochs as the whole schedule of its method, other "
                f"records of {base_method(run.method)} on {run.dataset} {known}."
            )
