"""Features of blobs and their surroundings for a random forest."""

import math

import numpy as np
from numpy.typing import NDArray

from cellbench.data.scale_space import noise_deviation

Real = NDArray[np.float32]

# All lengths are in units of the blob width chosen for the data set, so that features do not depend
# on the magnification.
_RESPONSES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
_LEVELS = (0.25, 0.5, 1.0, 2.0, 4.0)
_SLOPES = (0.35, 0.7, 1.4)
_BENDS = (0.5, 1.0)
_COLOURS = (0.5, 1.0, 2.0)
_RINGS = (1.0, 1.5, 2.2, 3.2, 4.5)
_DIRECTIONS = 16
# Ranks among the sorted drops towards a ring: nearly the least, the median, nearly the greatest.
_DROP_RANKS = (1, _DIRECTIONS // 2 - 1, _DIRECTIONS - 2)
# Number of strongest blobs whose median is the reference strength of an image.
_STRONGEST = 10
# Number of nearest blobs among which a stronger one is searched, and the cap on distances.
_NEIGHBOURS, _MAX_DISTANCE = 12, 20.0
# Number of samples on the line to the stronger blob.
_LINE_SAMPLES = 15
# Keeps ratios finite whose denominator may be 0.
_TINY = 1e-4
# Deviation of the response at scale 1 to white noise of deviation 1; it falls with the scale.
_NOISE = 1 / math.sqrt(2 * math.pi)

FEATURES = (
    5 + 2 * len(_RESPONSES) + 2 * len(_LEVELS) + len(_SLOPES) + len(_BENDS)
    + 3 * len(_COLOURS) + (1 + len(_DROP_RANKS)) * len(_RINGS) + 5 + 3
)  # fmt: skip
"""Number of features of a blob."""


def noise_response(plane: Real, sigma: float) -> float:
    """Estimate the standard deviation of the blob response to an image's noise.

    Args:
        plane: (H, W).
        sigma: px of the plane.
    """
    return noise_deviation(plane) * _NOISE / sigma


def blob_features(
    pixels: Real, plane: Real, points: Real, scores: Real, *, unit: float, noise: float
) -> NDArray[np.float32]:
    """Compute the features of blobs.

    Args:
        pixels: (H, W, 3) RGB in [0, 1].
        plane: (H, W), the view in which the blobs are bright.
        points: (N, 2), (x, y) px of the plane, inside it, the strongest first.
        scores: (N,) responses, above 0.
        unit: width of the chosen blobs, px of the plane.
        noise: standard deviation of the noise response.

    Returns:
        (N, FEATURES) float32, finite.
    """
    from scipy import ndimage

    if not len(points):
        return np.zeros((0, FEATURES), dtype=np.float32)
    places = np.stack([points[:, 1], points[:, 0]]) - 0.5

    def at(image: Real) -> Real:
        return _sample(image, places)

    def smooth(image: Real, times: float, order: tuple[int, int] = (0, 0)) -> Real:
        return ndimage.gaussian_filter(image, times * unit, order=order, mode="reflect")

    number, safe = len(points), scores + _TINY
    # The median of several, so that one speck of dirt does not change the features of all others.
    strong = float(np.median(safe[:_STRONGEST]))
    ground, top = float(np.median(plane)), float(np.quantile(plane, 0.99))
    span = top - ground + 10 * _TINY
    found = [
        np.log(safe),
        np.log(safe / strong),
        np.arange(number) / number,
        np.full(number, math.log(number)),
        np.log(scores / (noise + _TINY)),
    ]
    for times in _RESPONSES:
        sigma = times * unit
        response = at(-(sigma**2) * ndimage.gaussian_laplace(plane, sigma, mode="reflect"))
        found += [response, response / safe]
    for times in _LEVELS:
        level = at(smooth(plane, times))
        found += [level, (level - ground) / span]
    for times in _SLOPES:
        slopes = [at(smooth(plane, times, order)) for order in ((0, 1), (1, 0))]
        found.append(np.hypot(*slopes) * times * unit / safe)
    for times in _BENDS:
        xx, yy, xy = (at(smooth(plane, times, order)) for order in ((0, 2), (2, 0), (1, 1)))
        apart, middle = np.hypot((xx - yy) / 2, xy), np.abs((xx + yy) / 2)
        found.append(apart / (middle + _TINY / unit**2))
    for channel in np.moveaxis(pixels, 2, 0):
        usual = float(np.median(channel))
        found += [at(smooth(channel, times)) - usual for times in _COLOURS]
    calm = smooth(plane, 0.35)
    found += _rings(calm, places, ground, unit)
    found += _neighbours(calm, points, scores, ground, unit)
    height, width = plane.shape
    edge = np.minimum(points, np.array([width, height]) - points).min(axis=1)
    found += [np.clip(edge / unit, 0, _MAX_DISTANCE)]
    found += [np.full(number, value) for value in (ground, span, math.log(strong))]
    return np.stack(found, axis=1).astype(np.float32)


def _rings(
    calm: Real, places: NDArray[np.floating], ground: float, unit: float
) -> list[NDArray[np.floating]]:
    """Compute the drops of the view from a blob to rings around it, relative to the blob's height.

    Args:
        calm: (H, W), the smoothed view.
        places: (2, N) rows and columns.
        ground: background value of the view.
        unit: width of the chosen blobs, px.
    """
    here = _sample(calm, places)
    angles = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    ways = np.stack([np.sin(angles), np.cos(angles)])
    found: list[NDArray[np.floating]] = []
    for radius in _RINGS:
        ring = _sample(calm, places[:, None] + radius * unit * ways[:, :, None])
        drops = np.sort((here - ring) / (np.abs(here - ground) + 100 * _TINY), axis=0)
        found += [drops.mean(axis=0), *(drops[place] for place in _DROP_RANKS)]
    return found


def _neighbours(
    calm: Real, points: Real, scores: Real, ground: float, unit: float
) -> list[NDArray[np.floating]]:
    """Compute features of the nearest stronger blob, and the distance to the nearest of all.

    Those of the stronger one are its distance, the ratio of the strengths and the depth of the dip
    between the two: with a dip they are likely two cells, without one two ends of the same cell.

    Args:
        calm: (H, W), the smoothed view.
        points: (N, 2), the strongest first.
        scores: (N,).
        ground: background value of the view.
        unit: width of the chosen blobs, px.
    """
    from scipy.spatial import KDTree

    number = len(points)
    found = KDTree(points).query(points, k=range(2, _NEIGHBOURS + 2))
    distance, near = (np.asarray(part) for part in found)
    own = np.arange(number)
    # The extra column means "none found"; `near` is `number` where there are too few points.
    stronger = np.append(near < own[:, None], np.ones((number, 1), dtype=bool), axis=1)
    first = stronger.argmax(axis=1)
    known = first < _NEIGHBOURS
    other = np.where(known, near[own, np.minimum(first, _NEIGHBOURS - 1)], own)
    apart = np.where(known, distance[own, np.minimum(first, _NEIGHBOURS - 1)], np.inf)
    share = np.linspace(0, 1, _LINE_SAMPLES)[:, None, None]
    way = points + share * (points[other] - points) - 0.5
    levels = _sample(calm, np.moveaxis(way[..., ::-1], 2, 0))
    dip = (levels[0] - levels.min(axis=0)) / (np.abs(levels[0] - ground) + 100 * _TINY)
    return [
        np.clip(apart / unit, 0, _MAX_DISTANCE),
        np.where(known, scores / (scores[other] + _TINY), 0),
        np.where(known, dip, 1),
        np.clip(distance[:, 0] / unit, 0, _MAX_DISTANCE),
    ]


def _sample(image: Real, places: NDArray[np.floating]) -> Real:
    """Interpolate values between pixels; the image is reflected at the border."""
    from scipy import ndimage

    values = ndimage.map_coordinates(image, places, order=1, mode="reflect")
    return np.asarray(values, dtype=np.float32)
