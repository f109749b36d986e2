"""Cell positions from a density map that is a sum of equal Gaussians, one per cell.

Converted copies of data sets hold density maps instead of the authors' dots. The sum of a map is
the number of cells; their positions can be recovered because all Gaussians have the same shape.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import UserError
from cellbench.structures import Points, no_points

# No image of a published set has more cells: a larger sum means that the map has another unit.
MOST_CELLS = 5000
# Largest share of a map's cells that Gaussians may leave unexplained.
MOST_LEFT = 0.25
# Largest median number of cells per peak; above it, the map was multiplied by a factor.
MOST_MASS = 4
# Range of the deviations that converters use, px.
_SIGMA_PX = (0.5, 15.0)

Map = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FoundCells:
    """Cells found in a density map.

    Attributes:
        points: (N, 2) float32, (x, y) px; a pixel's centre is at .5.
        left: share of the map's cells that Gaussians at the points do not explain, 0 to 1.
    """

    points: Points
    left: float


def find_cells(density: NDArray[np.generic], *, name: str) -> FoundCells:
    """Fit a sum of Gaussians, one per cell, to a density map.

    The number of cells is the rounded sum of the map. They are placed one by one at the maximum of
    the residual, and then all moved to minimise the squared difference to the map. The deviations
    along x and y are estimated from the curvature of the map's logarithm at its peaks, which is the
    same at any distance from the centre of a lone Gaussian.

    Args:
        density: (H, W), cells per pixel.
        name: name of the map, as the start of an error message.

    Raises:
        UserError: numbers below 0, infinite or NaN, more than `MOST_CELLS` cells, or a map that is
            not a sum of Gaussians of one cell each.
    """
    map_ = np.asarray(density, np.float64)
    if map_.ndim != 2 or 0 in map_.shape:
        raise UserError(f"{name} has the shape {map_.shape}; a density map has height and width.")
    if not np.isfinite(map_).all() or map_.min() < -1e-3 * max(map_.max(), 1e-9):
        raise UserError(f"{name} holds numbers below 0 or none; a density map has cells per pixel.")
    map_ = map_.clip(min=0)
    cells = round(float(map_.sum()))
    if cells > MOST_CELLS:
        raise UserError(
            f"{name} adds up to {cells} cells, more than {MOST_CELLS}; divide it by what its cells "
            "were multiplied with."
        )
    if cells == 0:
        return FoundCells(no_points(), 0.0)
    sigma, mass = _lone_cells(map_)
    if mass > MOST_MASS:
        raise UserError(
            f"{name} has bumps of about {mass:.0f} cells each; divide it by what its cells were "
            "multiplied with."
        )
    points = _refine(map_, _place(map_, cells, sigma), sigma)
    # A misplaced cell counts twice in the absolute difference.
    left = float(np.abs(_gaussians(points, sigma, map_.shape)[0] - map_).sum()) / (2 * cells)
    if left > MOST_LEFT:
        raise UserError(
            f"{name} is no sum of Gaussians of one cell each ({left:.0%} of its {cells} cells are "
            "left over); a map of cells per pixel is wanted."
        )
    height, width = map_.shape
    inside = np.nextafter(np.array([width, height], np.float32), 0)
    return FoundCells(np.clip(points, 0, inside).astype(np.float32), left)


def _lone_cells(map_: Map) -> tuple[tuple[float, float], float]:
    """Estimate the deviations (x, y) of the sharper peaks, px, and the median peak's cells."""
    padded = np.pad(map_, 1, mode="symmetric")
    centre = padded[1:-1, 1:-1]
    sides = {
        "x": (padded[1:-1, :-2], padded[1:-1, 2:]),
        "y": (padded[:-2, 1:-1], padded[2:, 1:-1]),
    }
    peaks = centre > 0.05 * centre.max()
    for before, after in sides.values():
        peaks &= (centre >= before) & (centre >= after) & (before > 0) & (after > 0)
    found = []
    for before, after in sides.values():
        curvature = 2 * np.log(centre[peaks]) - np.log(before[peaks]) - np.log(after[peaks])
        curvature = curvature[curvature > 0]
        sigma = 1 / np.sqrt(np.quantile(curvature, 0.75)) if len(curvature) else _SIGMA_PX[0]
        found.append(float(np.clip(sigma, *_SIGMA_PX)))
    heights = np.median(centre[peaks]) if peaks.any() else 0.0
    return (found[0], found[1]), float(2 * np.pi * found[0] * found[1] * heights)


def _place(map_: Map, cells: int, sigma: tuple[float, float]) -> Map:
    """Place `cells` cells greedily, (N, 2): at the maximum, whose Gaussian is then subtracted."""
    left = map_.copy()
    height, width = map_.shape
    reach = [int(np.ceil(4 * s)) for s in sigma]
    places = np.empty((cells, 2))
    for index in range(cells):
        row, column = divmod(int(left.argmax()), width)
        places[index] = column + 0.5, row + 0.5
        rows = slice(max(0, row - reach[1]), min(height, row + reach[1] + 1))
        columns = slice(max(0, column - reach[0]), min(width, column + reach[0] + 1))
        offset = np.array([columns.start, rows.start])
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        left[rows, columns] -= _gaussians(places[index : index + 1] - offset, sigma, shape)[0]
    return places


def _refine(map_: Map, points: Map, sigma: tuple[float, float]) -> Map:
    """Move the points to minimise the squared difference to the map."""
    from scipy.optimize import minimize  # half a second to import, needed for density maps only

    # The optimiser's tolerances suit a loss of order 1, here that of one fully misplaced cell.
    unit = 4 * np.pi * sigma[0] * sigma[1]

    def loss(flat: Map) -> tuple[float, Map]:
        places = flat.reshape(-1, 2)
        model, along_x, along_y, (slope_x, slope_y) = _gaussians(places, sigma, map_.shape)
        wrong = model - map_
        by_x = ((along_y @ wrong) * slope_x).sum(axis=1)
        by_y = ((along_x @ wrong.T) * slope_y).sum(axis=1)
        slope = 2 * np.stack([by_x, by_y], axis=1).ravel()
        return unit * float(np.square(wrong).sum()), unit * slope

    options: dict[str, int] = {"maxiter": 200}
    found = minimize(loss, points.ravel(), jac=True, method="L-BFGS-B", options=options)  # type: ignore[call-overload]
    moved: Map = found.x.reshape(-1, 2)
    return moved


def _gaussians(
    points: Map, sigma: tuple[float, float], shape: tuple[int, ...]
) -> tuple[Map, Map, Map, tuple[Map, Map]]:
    """Compute the density map of the points, its factors along x and y, and their derivatives.

    Gaussians are reflected at the border, as `scipy.ndimage.gaussian_filter` does by default.
    """
    factors, slopes = [], []
    for axis, (length, deviation) in enumerate(zip((shape[1], shape[0]), sigma, strict=True)):
        centre = points[:, axis, None]
        pixels = np.arange(length) + 0.5
        near = slope = np.zeros((len(points), length))
        for mirrored, sign in ((centre, 1), (-centre, -1), (2 * length - centre, -1)):
            far = pixels - mirrored
            bump = np.exp(-np.square(far / deviation) / 2) / (np.sqrt(2 * np.pi) * deviation)
            near = near + bump
            slope = slope + sign * far / deviation**2 * bump
        factors.append(near)
        slopes.append(slope)
    along_x, along_y = factors
    return along_y.T @ along_x, along_x, along_y, (slopes[0], slopes[1])
