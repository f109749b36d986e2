"""How far predicted counts are from annotated ones.

`truth` and `prediction` are (N,) arrays of cells an image, one entry an image. Counts are never
rounded. A measure without a value is None, never NaN, so that records hold plain JSON.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.float64]


def mae(truth: ArrayLike, prediction: ArrayLike) -> float | None:
    """Mean absolute error in cells; None without images."""
    g, p = _pair(truth, prediction)
    return float(np.abs(p - g).mean()) if g.size else None


def rmse(truth: ArrayLike, prediction: ArrayLike) -> float | None:
    """Root of the mean squared error in cells; None without images.

    The counting literature prints this number under the name MSE.
    """
    g, p = _pair(truth, prediction)
    return float(np.sqrt(np.square(p - g).mean())) if g.size else None


def bias(truth: ArrayLike, prediction: ArrayLike) -> float | None:
    """Mean of prediction minus truth, above zero if too many are counted; None without images."""
    g, p = _pair(truth, prediction)
    return float((p - g).mean()) if g.size else None


@dataclass(frozen=True, slots=True)
class RelativeError:
    """The relative error of images with cells, and apart from it that of images without.

    Attributes:
        percent: mean of 100 |p - g| / g over images with cells; None if there is none.
        empty_images: number of images without cells, which have no relative error.
        empty_mae: mean absolute error over those; None if there is none.
    """

    percent: float | None
    empty_images: int
    empty_mae: float | None


def mape(truth: ArrayLike, prediction: ArrayLike) -> RelativeError:
    """Mean absolute percentage error, empty images apart.

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
    """Coefficient of determination, 1 - SSE / SST over images: below zero if worse than the mean.

    Not the squared correlation, which forgives any scale and offset. None for fewer than two
    images and where all images hold the same number of cells.
    """
    g, p = _pair(truth, prediction)
    if g.size < 2 or (g == g[0]).all():
        return None
    return float(1 - np.square(p - g).sum() / np.square(g - g.mean()).sum())


@dataclass(frozen=True, slots=True)
class Agreement:
    """Bland-Altman limits: about 95 % of the differences p - g lie between them.

    Attributes:
        bias: mean difference in cells.
        low: bias - 1.96 SD.
        high: bias + 1.96 SD.
    """

    bias: float
    low: float
    high: float


def bland_altman(truth: ArrayLike, prediction: ArrayLike) -> Agreement | None:
    """Limits of agreement, with the sample deviation (N - 1); None for fewer than two images.

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
    """Grid average mean absolute error of one image: GAME(0) is its absolute error.

    The image is cut into 2^level x 2^level half-open cells, and the errors of the cells add up.

    Args:
        truth_points: (N, 2), (x, y) px.
        size: (width, height) of the image in px.
        level: 0 or more.
        points: (P, 2) predicted, (x, y) px; or
        density: (h, w) map whose cells tile the image evenly, whatever its stride; a cell across
            a grid line is shared out by area, so that nothing is lost.

    Returns:
        The sum of |predicted - true| over the grid, in cells; 0 for nothing predicted in nothing.

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
    """(2^level, 2^level) number of points by cell, rows from the top."""
    n = 2**level
    xy = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    # Multiplied before it is divided: exact for float32 points, so a dot on a grid line always
    # falls to the cell that it opens.
    cell = np.floor(xy * n / np.asarray(size, dtype=np.float64)).clip(0, n - 1).astype(np.int64)
    flat = np.bincount(cell[:, 1] * n + cell[:, 0], minlength=n * n)
    return flat.reshape(n, n).astype(np.float64)


def _grid_of_density(density: Counts, level: int) -> Counts:
    """(2^level, 2^level) mass of a density map by cell."""
    rows, columns = density.shape
    return _overlap(2**level, rows) @ density @ _overlap(2**level, columns).T


def _overlap(cells: int, pixels: int) -> Counts:
    """(cells, pixels) share of every density pixel that lies in every grid cell of one axis."""
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
