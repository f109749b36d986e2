"""How long runs take, by those that are finished."""

from collections.abc import Sequence
from statistics import median

from cellbench.config import ResolvedConfig
from cellbench.results.runs import Run

# A run's start and end beside its training: imports, weights, FLOPs, pictures.
_AROUND_S = 10.0


class Speeds:
    """Seconds a pass over the training images, from finished runs."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._own: dict[tuple[str, str, str], list[float]] = {}
        self._any: dict[tuple[str, str], list[float]] = {}
        self._test: dict[tuple[str, str], list[float]] = {}
        for run in runs:
            if run.train_s is None or not run.epochs > 0:
                continue
            place = (run.dataset, run.protocol)
            pass_s = run.train_s / run.epochs
            self._own.setdefault((run.method, *place), []).append(pass_s)
            self._any.setdefault(place, []).append(pass_s)
            if run.images_per_s:
                self._test.setdefault(place, []).append(len(run.image_ids) / run.images_per_s)

    def estimate(self, config: ResolvedConfig, protocol: str) -> float | None:
        """Seconds from start to record; None where no finished run on the set tells.

        Args:
            config: of the run.
            protocol: name.
        """
        if config.schedule.budget_s is not None:
            return config.schedule.budget_s
        place = (config.data.set, protocol)
        known = self._own.get((config.method.name, *place)) or self._any.get(place)
        if not known:
            return None
        test_s = median(self._test[place]) if place in self._test else 0.0
        return _AROUND_S + median(known) * config.data.epochs + test_s
