"""The intervals that a trained method's counts have."""

from cellbench.metrics.prediction_intervals import CountIntervals, count_intervals
from cellbench.records.expected_error import held_out_counts
from cellbench.records.trained_runs import TrainedRun


def learned_intervals(run: TrainedRun) -> CountIntervals | None:
    """Intervals from a method's errors on pictures that it was not trained on.

    Args:
        run: with its record, and beside its weights what recommended it.

    Returns:
        None where there are too few such pictures.
    """
    known = held_out_counts(run.record, run.weights.parent)
    return count_intervals([truth for truth, _ in known], [count for _, count in known])
