"""How sure a mean error is: bootstrap over whole images.

Several runs that score the same image are not several images: the image is what is resampled,
once for all methods, splits and seeds, so that the columns of `resampled_maes` are paired.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cellbench.results.runs import Run

RESAMPLES = 2000


def resampled_maes(
    experiments: Sequence[Sequence[Run]], *, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """The MAE of every experiment under the same resamples of the images.

    Args:
        experiments: per experiment its runs. Runs of one split are averaged over seeds, and
            splits weigh the same whatever their size.
        resamples: how many.
        seed: of the resampling.

    Returns:
        (resamples, E) cells; NaN where a resample has no image of a split. (resamples, 0)
        without experiments.
    """
    names = sorted(_image_ids(run for runs in experiments for run in runs))
    row = {name: index for index, name in enumerate(names)}
    keys = [(e, split) for e, runs in enumerate(experiments) for split in _splits(runs)]
    column = {key: index for index, key in enumerate(keys)}
    error = np.zeros((len(keys), len(names)))
    images = np.zeros_like(error)
    rows_of: dict[tuple[str, ...], NDArray[np.int64]] = {}
    for e, runs in enumerate(experiments):
        for run in runs:
            if run.image_ids not in rows_of:
                rows_of[run.image_ids] = np.array([row[n] for n in run.image_ids], dtype=np.int64)
            rows, own = rows_of[run.image_ids], column[e, run.split]
            # An image may come several times (crops of it), which plain indexing would forget.
            off = np.abs(run.prediction - run.truth)
            error[own] += np.bincount(rows, weights=off, minlength=len(names))
            images[own] += np.bincount(rows, minlength=len(names))
    if not keys or not names:
        return np.full((resamples, len(experiments)), np.nan)
    rng = np.random.default_rng(seed)
    weight = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    weight = weight.astype(np.float64)
    drawn = weight @ images.T
    by_split = np.divide(weight @ error.T, drawn, out=np.full_like(drawn, np.nan), where=drawn > 0)
    maes = np.full((resamples, len(experiments)), np.nan)
    owner = np.array([e for e, _ in keys])
    for e in np.unique(owner).tolist():
        maes[:, e] = by_split[:, owner == e].mean(axis=1)
    return maes


def mae_intervals(
    experiments: Sequence[Sequence[Run]], *, level: float = 0.95
) -> list[tuple[float, float] | None]:
    """Percentile intervals of the MAE of every experiment.

    Args:
        experiments: per experiment its runs.
        level: share of resamples inside.

    Returns:
        (low, high) in cells; None with fewer than two images.
    """
    if not experiments:
        return []
    maes = resampled_maes(experiments)
    tail = 100 * (1 - level) / 2
    intervals: list[tuple[float, float] | None] = []
    for runs, drawn in zip(experiments, maes.T, strict=True):
        known = drawn[np.isfinite(drawn)]
        if not known.size or len(_image_ids(runs)) < 2:
            intervals.append(None)
            continue
        low, high = np.percentile(known, [tail, 100 - tail])
        intervals.append((float(low), float(high)))
    return intervals


def _image_ids(runs: Iterable[Run]) -> set[str]:
    """The images of some runs; most share the list of another."""
    return set[str]().union(*{run.image_ids for run in runs})


def _splits(runs: Sequence[Run]) -> list[int]:
    return sorted({run.split for run in runs})
