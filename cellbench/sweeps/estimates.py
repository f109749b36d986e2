"""How long runs take, by those that are finished.

The nearest relations tell: runs of the same method with the same changed keys, else of the same
method, else of any on that set that is trained by steps as it is, or is not.
"""

from collections.abc import Sequence
from statistics import median

from cellbench.config.run_length import trained_by_steps
from cellbench.config.schema import ResolvedConfig
from cellbench.records.summaries import Run

# A run's start and end beside its training: imports, weights, FLOPs, pictures.
_AROUND_S = 10.0


class Speeds:
    """Seconds a pass over the training images, or a whole fit without steps, from finished runs."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._passes: dict[tuple[str, str, str], list[float]] = {}
        self._fits: dict[tuple[str, str, str], list[float]] = {}
        self._test: dict[tuple[str, str], list[float]] = {}
        for run in runs:
            if run.train_s is None or not run.epochs > 0:
                continue
            place = (run.dataset, run.protocol)
            test_s = len(run.image_ids) / run.images_per_s if run.images_per_s else 0.0
            for name in _relations(run.method):
                if run.training:
                    self._passes.setdefault((name, *place), []).append(run.train_s / run.epochs)
                else:
                    self._fits.setdefault((name, *place), []).append(run.train_s + test_s)
            if run.training and test_s:
                self._test.setdefault(place, []).append(test_s)

    def estimate(self, config: ResolvedConfig, protocol: str) -> float | None:
        """Seconds from start to record; None without a finished run on the set.

        Args:
            config: of the run.
            protocol: name.
        """
        if config.schedule.budget_s is not None:
            return config.schedule.budget_s
        place = (config.data.set, protocol)
        by_steps = trained_by_steps(config)
        taken = self._passes if by_steps else self._fits
        relations = (taken.get((name, *place)) for name in _relations(config.method.name))
        known = next((each for each in relations if each), None)
        if known is None:
            return None
        if not by_steps:
            return _AROUND_S + median(known)
        test_s = median(self._test[place]) if place in self._test else 0.0
        return _AROUND_S + median(known) * config.data.epochs + test_s


def _relations(method: str) -> tuple[str, ...]:
    """A method's name, without its changed keys, and what stands for any method."""
    return tuple(dict.fromkeys((method, method.partition("[")[0], "")))
