"""Estimate the duration of runs from finished ones.

The estimate uses runs of the same method with the same changed keys, else of the same method, else
of any method on that dataset that is, like it, trained by steps or not.
"""

from collections.abc import Sequence
from statistics import median

from cellbench.config.run_length import trained_by_steps
from cellbench.config.schema import ResolvedConfig
from cellbench.ranking.rows import base_method
from cellbench.records.summaries import Run

# Time of a run besides fitting and testing: imports, weights, FLOPs, pictures.
_OVERHEAD_S = 10.0


class Speeds:
    """Durations of finished runs: seconds per epoch, or per fit of methods without steps."""

    def __init__(self, runs: Sequence[Run]) -> None:
        # Keys: by_steps, method, dataset, protocol. Values: seconds per epoch, or per fit.
        self._fits: dict[tuple[bool, str, str, str], list[float]] = {}
        self._test: dict[tuple[bool, str, str], list[float]] = {}
        self._by_steps: dict[str, bool] = {}
        for run in runs:
            if run.train_s is None or not run.epochs > 0:
                continue
            place = (run.dataset, run.protocol)
            fit_s = run.train_s / run.epochs if run.by_steps else run.train_s
            for name in _fallback_names(run.method):
                self._fits.setdefault((run.by_steps, name, *place), []).append(fit_s)
            if run.images_per_s:
                test_s = len(run.image_ids) / run.images_per_s
                self._test.setdefault((run.by_steps, *place), []).append(test_s)

    def estimate(self, config: ResolvedConfig, protocol: str) -> float | None:
        """Estimate the seconds from start to record; None without a comparable finished run.

        Args:
            config: config of the run.
            protocol: protocol name.
        """
        if config.schedule.budget_s is not None:
            return config.schedule.budget_s
        place, kind = (config.data.set, protocol), str(config.model["type"])
        if kind not in self._by_steps:  # cached: this reads source files
            self._by_steps[kind] = trained_by_steps(config)
        by_steps = self._by_steps[kind]
        candidates = (
            self._fits.get((by_steps, name, *place)) for name in _fallback_names(config.method.name)
        )
        known = next((fits for fits in candidates if fits), None)
        if known is None:
            return None
        tests = self._test.get((by_steps, *place))
        test_s = median(tests) if tests else 0.0
        return _OVERHEAD_S + median(known) * (config.data.epochs if by_steps else 1) + test_s


def _fallback_names(method: str) -> tuple[str, ...]:
    """Return a method's name, the name without changed keys, and "" for any method."""
    return tuple(dict.fromkeys((method, base_method(method), "")))
