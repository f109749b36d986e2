"""Multi-scale blob detection: width, contrast and position of an image's structures.

Source: Lindeberg, Feature detection with automatic scale selection, IJCV 1998, section 5.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Scales of each octave, px of its downsampled plane; _WIDEST in px of the full image. A response is
# the difference between a scale and the next, sqrt(2) as wide, so the last has none.
_RATIO = 2**0.5
_FINEST = 1.25
_SIGMAS = (_FINEST, _FINEST * _RATIO, _FINEST * _RATIO * _RATIO)
_WIDEST = 20.0
# The response to a Gaussian blob of height 1 and deviation s is greatest, _HEIGHT, at sigma =
# s / 2^(1/4); the response to white noise of deviation 1 has the deviation _NOISE / sigma.
_HEIGHT = 0.1716
_NOISE = 0.1152
_BLOB = 2**0.25
# Least response of a blob, in deviations of the response to white noise of the image's amount; the
# greatest of a million noise responses is some five deviations.
_SIGNIFICANT = 8.0
_MOST = 1500
_LEAST_EDGE = 8
# Share of the strongest blobs that may be dirt.
_DIRT = 0.1
_ALIKE = 4.0


@dataclass(frozen=True, slots=True)
class Blobs:
    """Bright or dark blobs of an image, the strongest first.

    Attributes:
        points: (N, 2) float32, (x, y) px.
        contrast: (N,) float32, height above (depth below) the surroundings, of a Gaussian blob.
        width_px: (N,) float32, diameter of a disc with its greatest response at the same scale.
    """

    points: NDArray[np.float32]
    contrast: NDArray[np.float32]
    width_px: NDArray[np.float32]

    def typical(self) -> "Blobs":
        """Return the blobs without the strongest, which may be dirt, and the weakest.

        Of three to five blobs one is left out as strongest, of more the strongest tenth, at least
        two. The weakest are those below a quarter of the contrast of the strongest that is kept.
        """
        number = len(self.contrast)
        first = 0 if number < 3 else max(1 if number < 6 else 2, int(number * _DIRT))
        if not number:
            return self
        top = self.contrast[first]
        keep = (self.contrast >= top / _ALIKE) & (np.arange(number) >= first)
        return Blobs(self.points[keep], self.contrast[keep], self.width_px[keep])


def noise_deviation(plane: NDArray[np.floating]) -> float:
    """Estimate the standard deviation of an image's noise from second differences.

    Args:
        plane: (H, W); 0 for an image of less than 3 px along an edge.

    Source: Immerkær, Fast noise variance estimation, CVIU 1996; here with the median of the
        absolute differences, which cells do not raise, and on two scales, since noise that was
        smoothed is larger than its differences.
    """
    fine = _difference_noise(plane)
    return max(fine, 2 * _difference_noise(downsampled(plane)))


def find_blobs(plane: NDArray[np.floating], *, noise: float) -> tuple[Blobs, Blobs]:
    """Detect the blobs that stand out from the noise.

    Args:
        plane: (H, W), finite.
        noise: standard deviation of the noise, above 0.

    Returns:
        Bright blobs and dark blobs; of two that overlap the stronger.
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
        level, factor = downsampled(level), factor * 2
    bright, dark = (_nms(np.concatenate(rows) if rows else None) for rows in found.values())
    return bright, dark


def _maxima(
    response: NDArray[np.float32], least: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return rows, columns and heights of the strongest spatial maxima above `least`."""
    y, x = np.nonzero(response > least)
    padded = np.pad(response, 1, constant_values=-np.inf)
    height = response[y, x]
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
        keep = height >= padded[y + 1 + down, x + 1 + right]
        y, x, height = y[keep], x[keep], height[keep]
    order = np.argsort(-height, kind="stable")[:_MOST]
    return y[order], x[order], height[order]


def downsampled(plane: NDArray[np.floating]) -> NDArray[np.float32]:
    """Downsample to the mean of each 2 x 2 px; an odd last row or column is left out."""
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    parts = plane[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    return parts.mean(axis=(1, 3), dtype=np.float32)


def _difference_noise(plane: NDArray[np.floating]) -> float:
    if min(plane.shape) < 3:
        return 0.0
    p = np.asarray(plane, np.float32)
    around = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
    difference = p[1:-1, 1:-1] - 0.25 * around
    deviation = 1.4826 * np.median(np.abs(difference - np.median(difference)))
    return float(deviation / np.sqrt(1.25))


def _nms(rows: NDArray[Any] | None) -> Blobs:
    """Non-maximum suppression: keep the rows (x, y, response, sigma) that no stronger overlaps."""
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
