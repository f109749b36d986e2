"""Placement of simulated cells without collisions."""

import numpy as np
from numpy.typing import NDArray

from cellbench.structures import Points, no_points

TRIES = 24  # positions drawn at a time


def place_apart(
    rng: np.random.Generator,
    radius: NDArray[np.floating],
    crowding: NDArray[np.floating],
    *,
    gap_px: float,
    touch: tuple[float, float],
) -> Points:
    """Place cells one by one at random positions that keep a distance to earlier cells.

    Where there is not enough room, the required distance shrinks step by step until every cell
    can be placed.

    Args:
        rng: random generator.
        radius: (N,) px; the largest first packs best.
        crowding: (H, W) relative density of cells, at least 0 and somewhere above 0.
        gap_px: minimum distance between two outlines.
        touch: range of the factor on the distance between two cells, drawn for each.

    Returns:
        (N, 2) float32 inside the image, away from the edges of their pixels; (0, 2) for none.
    """
    cells, width = len(radius), crowding.shape[1]
    if cells == 0:
        return no_points()
    total = np.cumsum(crowding.ravel(), dtype=np.float64)
    places = np.empty((cells, 2))
    slack = 1.0
    for k in range(cells):
        factor = rng.uniform(*touch)
        while True:
            # Below the last of the sums: a draw rounded to 1.0 would lie outside the image.
            flat = np.searchsorted(total, rng.random(TRIES) * total[-1] * (1 - 1e-9), side="right")
            corner = np.stack([flat % width, flat // width], axis=1)
            tries = corner + rng.uniform(0.01, 0.99, (TRIES, 2))
            apart = np.linalg.norm(tries[:, None] - places[None, :k], axis=2)  # (TRIES, k)
            reach = slack * factor * (radius[k] + radius[:k] + gap_px)
            free = (apart > reach).all(axis=1)
            if free.any():
                places[k] = tries[free.argmax()]
                break
            slack *= 0.98
    return places.astype(np.float32)
