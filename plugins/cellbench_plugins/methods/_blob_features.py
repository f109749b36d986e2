"""What a blob and its surroundings look like, in numbers that a forest can ask for."""

import math

import numpy as np
from numpy.typing import NDArray

from cellbench.data.scale_space import noise_deviation

Real = NDArray[np.float32]

# All lengths are in units of the blob width that was chosen for the set, so that a set at twice the
# magnification has the same numbers.
_RESPONSES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
_LEVELS = (0.25, 0.5, 1.0, 2.0, 4.0)
_SLOPES = (0.35, 0.7, 1.4)
_BENDS = (0.5, 1.0)
_COLOURS = (0.5, 1.0, 2.0)
_RINGS = (1.0, 1.5, 2.2, 3.2, 4.5)
_DIRECTIONS = 16
# Of the drops towards a ring, sorted: nearly the least, the middle, nearly the greatest.
_ORDER = (1, _DIRECTIONS // 2 - 1, _DIRECTIONS - 2)
# So many blobs say how strong the strong ones of a picture are.
_STRONGEST = 10
# A stronger blob is looked for among so many nearest ones, no further than that.
_NEIGHBOURS, _FAR = 12, 20.0
# Samples on the way to it.
_WAY = 15
# Keeps ratios of what may be nothing finite.
_TINY = 1e-4
# The deviation of white noise of deviation 1 in a response of scale 1; it falls with the scale.
_NOISE = 1 / math.sqrt(2 * math.pi)

FEATURES = (
    5 + 2 * len(_RESPONSES) + 2 * len(_LEVELS) + len(_SLOPES) + len(_BENDS)
    + 3 * len(_COLOURS) + (1 + len(_ORDER)) * len(_RINGS) + 5 + 3
)  # fmt: skip
"""How many numbers a blob has."""


def noise_response(plane: Real, sigma: float) -> float:
    """The deviation of what a picture's noise responds, as scores of blobs are measured.

    Args:
        plane: (H, W).
        sigma: px of the plane.
    """
    return noise_deviation(plane) * _NOISE / sigma


def blob_features(
    pixels: Real, plane: Real, points: Real, scores: Real, *, unit: float, noise: float
) -> NDArray[np.float32]:
    """(N, FEATURES), finite.

    Args:
        pixels: (H, W, 3) RGB in [0, 1].
        plane: (H, W), the view in which the blobs are bright.
        points: (N, 2), (x, y) px of the plane, inside it, the strongest first.
        scores: (N,) responses, above 0.
        unit: width of the chosen blobs, px of the plane.
        noise: deviation of the noise's response.
    """
    from scipy import ndimage

    if not len(points):
        return np.zeros((0, FEATURES), dtype=np.float32)
    places = np.stack([points[:, 1], points[:, 0]]) - 0.5

    def at(image: Real) -> Real:
        return _at(image, places)

    def smooth(image: Real, times: float, order: tuple[int, int] = (0, 0)) -> Real:
        return ndimage.gaussian_filter(image, times * unit, order=order, mode="reflect")

    number, safe = len(points), scores + _TINY
    # Of ten, so that one speck of dirt does not change what all others look like.
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
    found += [np.clip(edge / unit, 0, _FAR)]
    found += [np.full(number, value) for value in (ground, span, math.log(strong))]
    return np.stack(found, axis=1).astype(np.float32)


def _rings(
    calm: Real, places: NDArray[np.floating], ground: float, unit: float
) -> list[NDArray[np.floating]]:
    """By how much the view falls from a blob to rings around it, in shares of the blob's height.

    Args:
        calm: (H, W), the view without its finest noise.
        places: (2, N) rows and columns.
        ground: the usual value of the view.
        unit: width of the chosen blobs, px.
    """
    here = _at(calm, places)
    angles = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    ways = np.stack([np.sin(angles), np.cos(angles)])
    found: list[NDArray[np.floating]] = []
    for radius in _RINGS:
        ring = _at(calm, places[:, None] + radius * unit * ways[:, :, None])
        drops = np.sort((here - ring) / (np.abs(here - ground) + 100 * _TINY), axis=0)
        found += [drops.mean(axis=0), *(drops[place] for place in _ORDER)]
    return found


def _neighbours(
    calm: Real, points: Real, scores: Real, ground: float, unit: float
) -> list[NDArray[np.floating]]:
    """Distance, strength of the nearest stronger blob, the dip on the way; of any, the distance.

    Two blobs with a dip between them are two cells; without one they are two ends of one.

    Args:
        calm: (H, W), the view without its finest noise.
        points: (N, 2), the strongest first.
        scores: (N,).
        ground: the usual value of the view.
        unit: width of the chosen blobs, px.
    """
    from scipy.spatial import KDTree

    number = len(points)
    found = KDTree(points).query(points, k=range(2, _NEIGHBOURS + 2))
    distance, near = (np.asarray(part) for part in found)
    own = np.arange(number)
    # A column more stands for no neighbour: `near` is the number of points where there is none.
    stronger = np.append(near < own[:, None], np.ones((number, 1), dtype=bool), axis=1)
    first = stronger.argmax(axis=1)
    known = first < _NEIGHBOURS
    other = np.where(known, near[own, np.minimum(first, _NEIGHBOURS - 1)], own)
    apart = np.where(known, distance[own, np.minimum(first, _NEIGHBOURS - 1)], np.inf)
    share = np.linspace(0, 1, _WAY)[:, None, None]
    way = points + share * (points[other] - points) - 0.5
    levels = _at(calm, np.moveaxis(way[..., ::-1], 2, 0))
    dip = (levels[0] - levels.min(axis=0)) / (np.abs(levels[0] - ground) + 100 * _TINY)
    return [
        np.clip(apart / unit, 0, _FAR),
        np.where(known, scores / (scores[other] + _TINY), 0),
        np.where(known, dip, 1),
        np.clip(distance[:, 0] / unit, 0, _FAR),
    ]


def _at(image: Real, places: NDArray[np.floating]) -> Real:
    """Values between pixels; beyond the border those of the mirror image."""
    from scipy import ndimage

    values = ndimage.map_coordinates(image, places, order=1, mode="reflect")
    return np.asarray(values, dtype=np.float32)
