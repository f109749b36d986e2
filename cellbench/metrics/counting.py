"""Count errors: MAE, RMSE, bias, MAPE, R2, Bland-Altman limits of agreement and GAME.

`truth` and `prediction` are (N,) arrays of cells, one entry per image. Counts are never rounded.
An undefined metric is None, never NaN, so that records hold plain JSON.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.float64]


def mae(truth: ArrayLike, prediction: ArrayLike) -> float | None:
    """Compute the mean absolute error in cells; None without images."""
    g, p = _pair(truth, prediction)
    return float(np.abs(p - g).mean()) if g.size else None


def rmse(truth: ArrayLike, prediction: ArrayLike) -> float | None:
    """Compute the root of the mean squared error in cells; None without images.

    The counting literature reports this number as MSE.
    """
    g, p = _pair(truth, prediction)
    return float(np.sqrt(np.square(p - g).mean())) if g.size else None


def bias(truth: ArrayLike, prediction: ArrayLike) -> float | None:
    """Compute the mean of prediction minus truth, above 0 for overcounting; None without images."""
    g, p = _pair(truth, prediction)
    return float((p - g).mean()) if g.size else None


@dataclass(frozen=True, slots=True)
class RelativeError:
    """Relative error of images with cells, and the absolute error of images without.

    Attributes:
        percent: mean of 100 |p - g| / g over images with cells; None if there is none.
        empty_images: number of images without cells, which have no relative error.
        empty_mae: mean absolute error over those; None if there is none.
    """

    percent: float | None
    empty_images: int
    empty_mae: float | None


def mape(truth: ArrayLike, prediction: ArrayLike) -> RelativeError:
    """Compute the mean absolute percentage error, with empty images reported apart.

    Differs: dividing by a small number where the truth is zero, as some libraries do, lets one
    false cell on one empty image outweigh a whole data set.
    """
    g, p = _pair(truth, prediction)
    error, empty = np.abs(p - g), g == 0
    return RelativeError(
        percent=float(100 * (error[~empty] / g[~empty]).mean()) if not empty.all() else None,
        empty_images=int(empty.sum()),
        empty_mae=float(error[empty].mean()) if empty.any() else None,
    )


def r2(truth: ArrayLike, prediction: ArrayLike) -> float | None:
    """Compute the coefficient of determination, 1 - SSE / SST; negative if worse than the mean.

    This is not the squared correlation, which ignores scale and offset errors. None for fewer than
    two images and where all images hold the same number of cells.
    """
    g, p = _pair(truth, prediction)
    if g.size < 2 or (g == g[0]).all():
        return None
    return float(1 - np.square(p - g).sum() / np.square(g - g.mean()).sum())


@dataclass(frozen=True, slots=True)
class Agreement:
    """Bland-Altman limits of agreement: about 95 % of the differences p - g lie between them.

    Attributes:
        bias: mean difference in cells.
        low: bias - 1.96 SD.
        high: bias + 1.96 SD.
    """

    bias: float
    low: float
    high: float


def bland_altman(truth: ArrayLike, prediction: ArrayLike) -> Agreement | None:
    """Compute limits of agreement from the sample SD (N - 1); None for fewer than two images.

    Source: Bland and Altman, Lancet 327:307, 1986.
    """
    g, p = _pair(truth, prediction)
    if g.size < 2:
        return None
    difference = p - g
    centre, reach = float(difference.mean()), 1.96 * float(difference.std(ddof=1))
    return Agreement(bias=centre, low=centre - reach, high=centre + reach)


def game(
    truth_points: ArrayLike,
    *,
    size: tuple[int, int],
    level: int,
    points: ArrayLike | None = None,
    density: ArrayLike | None = None,
) -> float:
    """Compute the grid average mean absolute error of one image; GAME(0) is its absolute error.

    The image is divided into 2^level x 2^level half-open grid cells, whose errors are summed.

    Args:
        truth_points: (N, 2), (x, y) px.
        size: (width, height) of the image in px.
        level: 0 or more.
        points: (P, 2) predicted, (x, y) px; or
        density: (h, w) map whose pixels tile the image evenly, at any stride; a pixel across a
            grid line is divided by area, which keeps the sum.

    Returns:
        The sum of |predicted - true| over the grid, in cells; 0 if both are empty.

    Raises:
        ValueError: not exactly one of `points` and `density` is given.

    Source: Guerrero-Gomez-Olmedo et al., IbPRIA 2015.
    Differs: a point outside the image counts in the nearest cell, so that GAME is never less than
    the absolute error.
    """
    if (points is None) == (density is None):
        raise ValueError("game needs either points or density")
    if density is not None:
        predicted = _grid_of_density(np.asarray(density, dtype=np.float64), level)
    else:
        predicted = _grid_of_points(points, size, level)
    return float(np.abs(predicted - _grid_of_points(truth_points, size, level)).sum())


def _grid_of_points(points: ArrayLike | None, size: tuple[int, int], level: int) -> Counts:
    """Count points by grid cell, (2^level, 2^level), rows from the top."""
    n = 2**level
    xy = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    # Multiplying before dividing is exact for float32 points, so a point on a grid line always
    # falls into the cell that starts there.
    cell = np.floor(xy * n / np.asarray(size, dtype=np.float64)).clip(0, n - 1).astype(np.int64)
    flat = np.bincount(cell[:, 1] * n + cell[:, 0], minlength=n * n)
    return flat.reshape(n, n).astype(np.float64)


def _grid_of_density(density: Counts, level: int) -> Counts:
    """Sum a density map by grid cell, (2^level, 2^level)."""
    rows, columns = density.shape
    return _overlap(2**level, rows) @ density @ _overlap(2**level, columns).T


def _overlap(cells: int, pixels: int) -> Counts:
    """Compute the (cells, pixels) share of every density pixel in every grid cell, on one axis."""
    left = np.arange(cells)[:, None] * pixels / cells
    pixel = np.arange(pixels)[None, :]
    right = left + pixels / cells
    return (np.minimum(right, pixel + 1) - np.maximum(left, pixel)).clip(0)


def _pair(truth: ArrayLike, prediction: ArrayLike) -> tuple[Counts, Counts]:
    g = np.asarray(truth, dtype=np.float64).reshape(-1)
    p = np.asarray(prediction, dtype=np.float64).reshape(-1)
    if g.shape != p.shape:
        raise ValueError(f"{g.size} true counts cannot be compared with {p.size} predicted ones")
    return g, p
