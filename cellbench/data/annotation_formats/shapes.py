"""Centroids of cells that are drawn as outlines."""

from collections.abc import Sequence

import numpy as np


def polygon_centroid(rings: Sequence[Sequence[Sequence[float]]]) -> tuple[float, float]:
    """Compute the centroid of a polygon.

    Args:
        rings: its outline and then its holes, each (N, 2) numbers, closed or not.

    Returns:
        (x, y); the mean of the corners if the outline has no area.

    Raises:
        ValueError: an outline without corners.
    """
    area, moment = 0.0, np.zeros(2)
    for index, ring in enumerate(rings):
        corners = np.asarray([place[:2] for place in ring], dtype=np.float64).reshape(-1, 2)
        if not len(corners):
            raise ValueError("an outline without corners")
        size, middle = _area_and_centroid(corners)
        # Holes are subtracted from the outline, in whichever direction they run.
        signed = size if index == 0 else -size
        area, moment = area + signed, moment + signed * middle
        if index == 0:
            outer = middle
    found = moment / area if area > 0 else outer
    return float(found[0]), float(found[1])


def multipolygon_centroid(
    polygons: Sequence[Sequence[Sequence[Sequence[float]]]],
) -> tuple[float, float]:
    """Compute the centroid of an object in several pieces, weighted by their areas."""
    if not polygons:
        raise ValueError("an object without outline")
    weights, middles = [], []
    for rings in polygons:
        corners = np.asarray([place[:2] for place in rings[0]], dtype=np.float64).reshape(-1, 2)
        if not len(corners):
            raise ValueError("an outline without corners")
        weights.append(_area_and_centroid(corners)[0] + 1e-9)
        middles.append(polygon_centroid(rings))
    x, y = np.average(np.array(middles), axis=0, weights=weights)
    return float(x), float(y)


def composite_centroid(rings: Sequence[np.ndarray]) -> tuple[float, float]:
    """Compute the centroid of pieces with holes, where a hole runs opposite to its piece.

    Args:
        rings: (N, 2) numbers each, in any order.

    Raises:
        ValueError: no ring has a corner.
    """
    area, moment, middles = 0.0, np.zeros(2), []
    for ring in rings:
        corners = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
        if len(corners):
            size, middle = _area_and_centroid(corners)
            signed = size if _is_clockwise(corners) else -size
            area, moment = area + signed, moment + signed * middle
            middles.append(middle)
    if not middles:
        raise ValueError("an object without outline")
    found = moment / area if abs(area) > 1e-9 else np.mean(middles, axis=0)
    return float(found[0]), float(found[1])


def _is_clockwise(corners: np.ndarray) -> bool:
    at = corners - corners[0]
    after = np.roll(at, -1, axis=0)
    return bool((at[:, 0] * after[:, 1] - after[:, 0] * at[:, 1]).sum() > 0)


def _area_and_centroid(corners: np.ndarray) -> tuple[float, np.ndarray]:
    """Compute area and centroid by the shoelace formula; the corners' mean without area."""
    origin = corners[0]
    at = corners - origin  # keeps digits of outlines far from the image's corner
    after = np.roll(at, -1, axis=0)
    cross = at[:, 0] * after[:, 1] - after[:, 0] * at[:, 1]
    double = float(cross.sum())
    if abs(double) < 1e-9:
        return 0.0, corners.mean(axis=0)
    return abs(double) / 2, origin + ((at + after) * cross[:, None]).sum(axis=0) / (3 * double)
