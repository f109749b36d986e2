"""How far methods err on the same images: what no method can mend shows in the errors of all.

Where an annotator leaves out what others mark, every method counts too many on that annotator's
images. Such an error is part of every MAE, and methods can be told apart only by what is left.
"""

from collections.abc import Sequence

import numpy as np

from cellbench.ranking.statistics import Floats

# With fewer other methods their median is one method's, and with fewer images a correlation
# says nothing.
LEAST_OTHERS = 3
LEAST_IMAGES = 4


def shared_errors(signed: Floats, methods: Sequence[str]) -> list[float | None]:
    """Correlation, over images, of every row's error with the median error of other methods.

    Near 1, it is the images or their annotations that decide where a method errs, and in which
    direction; near 0, the method itself. A method speaks once among the others, by the row of its
    least MAE, so that many variants of one do not outvote the rest.

    Args:
        signed: (E, N) predictions minus truths, of the same images in all rows.
        methods: (E,) whose variant each row is.

    Returns:
        One in [-1, 1] a row; None with fewer than three other methods or four images, where a
        row lacks an image, and where a row or the median of the others errs alike on all images.
    """
    if signed.shape[1] < LEAST_IMAGES or not np.isfinite(signed).all():
        return [None] * len(signed)
    best: dict[str, int] = {}
    for row in np.argsort(np.abs(signed).mean(axis=1), kind="stable").tolist():
        best.setdefault(methods[row], row)
    if len(best) <= LEAST_OTHERS:
        return [None] * len(signed)
    medians = dict(zip(best, _medians_of_others(signed[list(best.values())]), strict=True))
    return [_correlation(own, medians[method]) for own, method in zip(signed, methods, strict=True)]


def _medians_of_others(values: Floats) -> Floats:
    """Per row and column the median of the other rows; (M, N) from (M, N), M at least 2."""
    order = np.argsort(values, axis=0, kind="stable")
    ranked = np.take_along_axis(values, order, axis=0)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(len(values))[:, None], axis=0)
    low, high = (len(values) - 2) // 2, (len(values) - 1) // 2  # the middle of one fewer
    middle = [np.take_along_axis(ranked, index + (index >= place), axis=0) for index in (low, high)]
    return np.asarray(sum(middle) / 2)


def _correlation(a: Floats, b: Floats) -> float | None:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    # what is left of equal numbers after their mean is taken off is rounding
    if size <= 1e-12 * len(a):
        return None
    return float(np.clip(a @ b / size, -1.0, 1.0))
