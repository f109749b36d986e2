"""Where simulated cells lie."""

import numpy as np
from numpy.typing import NDArray

from cellbench.structures import Points, no_points

TRIES = 24  # places drawn at a time


def place_apart(
    rng: np.random.Generator,
    radius: NDArray[np.floating],
    crowding: NDArray[np.floating],
    *,
    gap_px: float,
    touch: tuple[float, float],
) -> Points:
    """Throw cells one by one where they don't run into those before.

    Where the room is too small for all, the distance asked for shrinks step by step, so that
    every cell finds its place.

    Args:
        rng: source of chance.
        radius: (N,) px; the largest first packs best.
        crowding: (H, W), how much a pixel attracts cells, at least 0 and somewhere above 0.
        gap_px: least distance between two outlines.
        touch: range of the factor on the distance between two cells, drawn for each.

    Returns:
        (N, 2) float32 inside the picture, clear of the edges of their pixels; (0, 2) for none.
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
            # Below the last of the sums: a draw of 1.0 after rounding would be past the picture.
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
