"""Main effects and interactions of a factorial design, with confidence intervals."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cellbench.ranking.statistics import (
    LEVEL,
    RESAMPLES,
    Floats,
    ImageErrors,
    intervals,
    mean_over_images,
)

# (factor, label) in the order of the grid.
Levels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one factor from its first level, the reference, to another."""

    factor: str
    level: str
    reference: str


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of changes on the mean absolute error; below zero is better.

    Attributes:
        changes: one for a main effect or an effect in one cell; two or three for an interaction,
            which is the change of one factor's effect when the others change.
        within: levels of the other factors for an effect in one cell; empty if it is averaged over
            them.
        cells: number of combinations of the other factors that are averaged.
        images: number of images that all these combinations scored.
        estimate: estimate in cells per image; None without images.
        low: lower end of the interval; None with fewer than six independent images.
        high: upper end of the interval.
    """

    changes: tuple[Change, ...]
    within: Levels
    cells: int
    images: int
    estimate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class _Contrast:
    """Weights of cells; the weighted sum of their errors is an effect."""

    changes: tuple[Change, ...]
    within: Levels
    cells: int
    weights: Mapping[int, float]


def factor_levels(cells: Sequence[Levels]) -> dict[str, list[str]]:
    """List the levels of every factor, in order of first occurrence."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for factor, label in cell:
            labels = found.setdefault(factor, [])
            if label not in labels:
                labels.append(label)
    return found


def grid_effects(
    cells: Sequence[Levels],
    errors: ImageErrors,
    *,
    order: int = 3,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> list[Effect]:
    """Estimate the effects of a grid's factors on the mean absolute error.

    A factor's effect is the error with a level minus that with its first level, image by image,
    averaged over those combinations of the other factors that have both; an interaction is the
    difference of such differences. The bootstrap resamples images for all cells together.

    Args:
        cells: levels of every row of `errors`; combinations may be missing.
        errors: errors of the cells on one dataset.
        order: largest number of factors in an interaction.
        resamples: number of bootstrap resamples.
        level: confidence level of the intervals.

    Returns:
        Main effects, then the effects in every single cell (if there is more than one), then
        interactions by their order. Effects without a complete combination are left out.
    """
    contrasts = list(_contrasts(cells, order))
    if not contrasts:
        return []
    rows = np.stack([_row(contrast, errors.absolute) for contrast in contrasts])
    ranges = intervals(rows, errors.clusters, resamples=resamples, level=level)
    return [
        Effect(
            changes=contrast.changes,
            within=contrast.within,
            cells=contrast.cells,
            images=int(np.isfinite(row).sum()),
            estimate=mean,
            low=None if span is None else span[0],
            high=None if span is None else span[1],
        )
        for contrast, row, mean, span in zip(
            contrasts, rows, mean_over_images(rows), ranges, strict=True
        )
    ]


def _contrasts(cells: Sequence[Levels], order: int) -> Iterator[_Contrast]:
    factors = factor_levels(cells)
    index_of = {frozenset(cell): index for index, cell in enumerate(cells)}
    varied = [factor for factor, labels in factors.items() if len(labels) > 1]
    for size in range(1, min(order, len(varied)) + 1):
        single = []
        for chosen in itertools.combinations(varied, size):
            for labels in itertools.product(*(factors[factor][1:] for factor in chosen)):
                changes = tuple(
                    Change(factor, label, factors[factor][0])
                    for factor, label in zip(chosen, labels, strict=True)
                )
                found = _cell_contrasts(changes, factors, index_of)
                if not found:
                    continue
                yield _average(found)
                if size == 1 and len(found) > 1:
                    single += found
        yield from single


def _cell_contrasts(
    changes: tuple[Change, ...],
    factors: Mapping[str, list[str]],
    index_of: Mapping[frozenset[tuple[str, str]], int],
) -> list[_Contrast]:
    """List the contrast in every combination of the other factors whose cells all exist."""
    changed = {change.factor for change in changes}
    others = [(factor, labels) for factor, labels in factors.items() if factor not in changed]
    found = []
    for rest in itertools.product(*(labels for _, labels in others)):
        within = tuple((factor, label) for (factor, _), label in zip(others, rest, strict=True))
        weights: dict[int, float] = {}
        for moved in itertools.product((False, True), repeat=len(changes)):
            corner = {
                (change.factor, change.level if on else change.reference)
                for change, on in zip(changes, moved, strict=True)
            }
            index = index_of.get(frozenset(corner | set(within)))
            if index is None:
                break
            weights[index] = (-1.0) ** moved.count(False)
        else:
            found.append(_Contrast(changes, within, 1, weights))
    return found


def _average(contrasts: Sequence[_Contrast]) -> _Contrast:
    weights: dict[int, float] = {}
    for contrast in contrasts:
        for index, weight in contrast.weights.items():
            weights[index] = weights.get(index, 0.0) + weight / len(contrasts)
    return _Contrast(contrasts[0].changes, (), len(contrasts), weights)


def _row(contrast: _Contrast, absolute: Floats) -> Floats:
    """Return (N,) weighted errors; NaN where a cell has no score of the image."""
    total = np.zeros(absolute.shape[1])
    for index, weight in contrast.weights.items():
        total += weight * absolute[index]
    return total
