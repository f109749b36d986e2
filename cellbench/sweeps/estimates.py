"""How long runs take, by those that are finished.

The nearest relations tell: runs of the same method with the same changed keys, else of the same
method, else of any that trains a network on that set.
"""

from collections.abc import Sequence
from statistics import median

from cellbench.config.schema import ResolvedConfig
from cellbench.records.summaries import Run

# A run's start and end beside its training: imports, weights, FLOPs, pictures.
_AROUND_S = 10.0


class Speeds:
    """Seconds a pass over the training images, from finished runs."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._passes: dict[tuple[str, str, str], list[float]] = {}
        self._test: dict[tuple[str, str], list[float]] = {}
        for run in runs:
            # A baseline without parameters says nothing about those that have some.
            if run.train_s is None or not run.epochs > 0 or not run.parameters:
                continue
            place = (run.dataset, run.protocol)
            for name in _relations(run.method):
                self._passes.setdefault((name, *place), []).append(run.train_s / run.epochs)
            if run.images_per_s:
                self._test.setdefault(place, []).append(len(run.image_ids) / run.images_per_s)

    def estimate(self, config: ResolvedConfig, protocol: str) -> float | None:
        """Seconds from start to record; None without a finished run on the set.

        Args:
            config: of the run.
            protocol: name.
        """
        if config.schedule.budget_s is not None:
            return config.schedule.budget_s
        place = (config.data.set, protocol)
        relations = (self._passes.get((name, *place)) for name in _relations(config.method.name))
        known = next((passes for passes in relations if passes), None)
        if known is None:
            return None
        test_s = median(self._test[place]) if place in self._test else 0.0
        return _AROUND_S + median(known) * config.data.epochs + test_s


def _relations(method: str) -> tuple[str, ...]:
    """A method's name, without its changed keys, and what stands for any method."""
    return tuple(dict.fromkeys((method, method.partition("[")[0], "")))
