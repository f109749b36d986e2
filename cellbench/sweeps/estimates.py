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
        # By whether it takes steps, method, set and protocol: a pass, or the whole fit.
        self._fits: dict[tuple[bool, str, str, str], list[float]] = {}
        self._test: dict[tuple[bool, str, str], list[float]] = {}
        self._by_steps: dict[str, bool] = {}
        for run in runs:
            if run.train_s is None or not run.epochs > 0:
                continue
            place = (run.dataset, run.protocol)
            fit_s = run.train_s / run.epochs if run.by_steps else run.train_s
            for name in _relations(run.method):
                self._fits.setdefault((run.by_steps, name, *place), []).append(fit_s)
            if run.images_per_s:
                test_s = len(run.image_ids) / run.images_per_s
                self._test.setdefault((run.by_steps, *place), []).append(test_s)

    def estimate(self, config: ResolvedConfig, protocol: str) -> float | None:
        """Seconds from start to record; None without a finished run on the set.

        Args:
            config: of the run.
            protocol: name.
        """
        if config.schedule.budget_s is not None:
            return config.schedule.budget_s
        place, kind = (config.data.set, protocol), str(config.model["type"])
        if kind not in self._by_steps:  # which is read from sources, and a plan has few methods
            self._by_steps[kind] = trained_by_steps(config)
        by_steps = self._by_steps[kind]
        relations = (
            self._fits.get((by_steps, name, *place)) for name in _relations(config.method.name)
        )
        known = next((fits for fits in relations if fits), None)
        if known is None:
            return None
        tests = self._test.get((by_steps, *place))
        test_s = median(tests) if tests else 0.0
        return _AROUND_S + median(known) * (config.data.epochs if by_steps else 1) + test_s


def _relations(method: str) -> tuple[str, ...]:
    """A method's name, without its changed keys, and what stands for any method."""
    return tuple(dict.fromkeys((method, method.partition("[")[0], "")))
