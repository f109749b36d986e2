"""Blobs of a picture over scales: how wide, how far apart and how bright its structures are.

Source: Lindeberg, Feature detection with automatic scale selection, IJCV 1998, section 5.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Scales of each octave, px of its plane; the widest, px of the picture. A response is the
# difference of a scale and the next one, sqrt(2) as wide, so that the last has none.
_RATIO = 2**0.5
_FINEST = 1.25
_SIGMAS = (_FINEST, _FINEST * _RATIO, _FINEST * _RATIO * _RATIO)
_WIDEST = 20.0
# A Gaussian blob of height 1 and deviation s responds most at sigma = s / 2^(1/4), with this; white
# noise of deviation 1 responds with a deviation of this over sigma.
_HEIGHT = 0.1716
_NOISE = 0.1152
_BLOB = 2**0.25
# A blob is what responds so many times as strongly as white noise of the picture's amount does;
# the greatest of a million noise responses is some five times their deviation.
_SIGNIFICANT = 8.0
_MOST = 1500
_LEAST_EDGE = 8
# Of the strongest blobs so large a share may be dirt.
_DIRT = 0.1
_ALIKE = 4.0


@dataclass(frozen=True, slots=True)
class Blobs:
    """Bright or dark blobs of a picture, the strongest first.

    Attributes:
        points: (N, 2) float32, (x, y) px.
        contrast: (N,) float32, height above (depth below) the surroundings, of a Gaussian blob.
        width_px: (N,) float32, diameter of a disc that responds at the same scale.
    """

    points: NDArray[np.float32]
    contrast: NDArray[np.float32]
    width_px: NDArray[np.float32]

    def typical(self) -> "Blobs":
        """Leave out the strongest, which may be dirt, and what is much weaker than the others.

        Of three blobs or more the strongest tenth, at least one, is left out.
        """
        number = len(self.contrast)
        first = 0 if number < 3 else max(1 if number < 6 else 2, int(number * _DIRT))
        if not number:
            return self
        top = self.contrast[first]
        keep = (self.contrast >= top / _ALIKE) & (np.arange(number) >= first)
        return Blobs(self.points[keep], self.contrast[keep], self.width_px[keep])


def noise_deviation(plane: NDArray[np.floating]) -> float:
    """Estimate the standard deviation of a picture's noise from second differences.

    Args:
        plane: (H, W); a picture of less than 8 px along an edge has none.

    Source: Immerkær, Fast noise variance estimation, CVIU 1996; here with the median of the
        absolute differences, which cells do not raise, and on two scales, since noise that was
        smoothed is larger than its differences.
    """
    fine = _differences(plane)
    return max(fine, 2 * _differences(halved(plane)))


def find_blobs(plane: NDArray[np.floating], *, noise: float) -> tuple[Blobs, Blobs]:
    """Find the blobs that stand out of the noise.

    Args:
        plane: (H, W), finite.
        noise: standard deviation, above 0.

    Returns:
        Bright blobs and dark ones; of two that overlap the stronger.
    """
    from scipy.ndimage import gaussian_filter

    found: dict[int, list[NDArray[Any]]] = {1: [], -1: []}
    level, factor = np.asarray(plane, np.float32), 1
    while min(level.shape) >= _LEAST_EDGE and _FINEST * factor <= _WIDEST:
        smooth = [gaussian_filter(level, s, mode="reflect", truncate=3.0) for s in _SIGMAS]
        for sigma, finer, coarser in zip(_SIGMAS, smooth, smooth[1:], strict=False):
            response = finer - coarser
            least = _SIGNIFICANT * noise * _NOISE / (sigma * factor)
            for sign, rows in found.items():
                y, x, height = _maxima(response if sign == 1 else -response, least)
                scale = np.full(len(height), sigma * factor)
                rows.append(np.stack([(x + 0.5) * factor, (y + 0.5) * factor, height, scale], 1))
        level, factor = halved(level), factor * 2
    bright, dark = (_apart(np.concatenate(rows) if rows else None) for rows in found.values())
    return bright, dark


def _maxima(
    response: NDArray[np.float32], least: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Rows, columns and heights of the strongest spatial maxima above `least`."""
    y, x = np.nonzero(response > least)
    padded = np.pad(response, 1, constant_values=-np.inf)
    height = response[y, x]
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
        keep = height >= padded[y + 1 + down, x + 1 + right]
        y, x, height = y[keep], x[keep], height[keep]
    order = np.argsort(-height, kind="stable")[:_MOST]
    return y[order], x[order], height[order]


def halved(plane: NDArray[np.floating]) -> NDArray[np.float32]:
    """Mean of each 2 x 2 px; an odd last row or column is left out."""
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    parts = plane[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    return parts.mean(axis=(1, 3), dtype=np.float32)


def _differences(plane: NDArray[np.floating]) -> float:
    if min(plane.shape) < 3:
        return 0.0
    p = np.asarray(plane, np.float32)
    around = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
    difference = p[1:-1, 1:-1] - 0.25 * around
    deviation = 1.4826 * np.median(np.abs(difference - np.median(difference)))
    return float(deviation / np.sqrt(1.25))


def _apart(rows: NDArray[Any] | None) -> Blobs:
    """Of rows of x, y, response and sigma those that no stronger one overlaps."""
    from scipy.spatial import KDTree

    empty = np.zeros(0, np.float32)
    if rows is None or not len(rows):
        return Blobs(np.zeros((0, 2), np.float32), empty, empty)
    rows = rows[np.argsort(-rows[:, 2], kind="stable")][: 2 * _MOST]
    points, sigma = rows[:, :2], rows[:, 3]
    near = KDTree(points).query_ball_point(points, np.sqrt(2) * _BLOB * sigma)
    stays = np.ones(len(rows), dtype=bool)
    for strong, others in enumerate(near):
        if stays[strong]:
            weaker = np.asarray(others)
            stays[weaker[weaker > strong]] = False
    kept = rows[stays].astype(np.float32)
    deviation = np.float32(_BLOB) * kept[:, 3]
    return Blobs(kept[:, :2], kept[:, 2] / np.float32(_HEIGHT), 2 * np.sqrt(2) * deviation)
