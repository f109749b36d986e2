"""Random generators and stratified counts of simulated data sets."""

from collections.abc import Sequence
from operator import index as as_integer

import numpy as np

from cellbench.errors import UserError


def generator(seed: int, index: int, stream: int) -> np.random.Generator:
    """Create the random generator of one image, independent of all other images.

    Args:
        seed: seed of the set, 0 or more.
        index: index of the image, 0 or more.
        stream: number that separates simulators, and the parts of one.

    Raises:
        UserError: the seed or the index is not a whole number from 0 up.
    """
    for name, value in (("seed", seed), ("index", index)):
        try:
            allowed = as_integer(value) >= 0
        except TypeError:
            allowed = False
        if not allowed:
            raise UserError(
                f"A simulated image has the {name} {value!r}; give a whole number from 0 up."
            )
    return np.random.default_rng([seed, index, stream])


def stratum(index: int, *, seed: int, images: int, stream: int) -> float:
    """Draw a stratified level in [0, 1) for one image: a whole set has one in each stratum.

    The counts of a set thus have nearly the published mean and deviation for every seed, and
    always include the extremes. Images past the end of a set begin a new one.

    Args:
        index: index of the image.
        seed: seed of the set.
        images: number of images in a whole set, and of strata.
        stream: number that separates simulators, and the quantities of one.
    """
    block, place = divmod(as_integer(index), images)
    order = generator(seed, block, stream).permutation(images)
    within = generator(seed, index, stream + 1).random()
    return float((order[place] + within) / images)


def quantile(level: float, levels: Sequence[float], values: Sequence[float]) -> int:
    """Interpolate a quantile of a distribution and round it to an integer.

    Args:
        level: in [0, 1].
        levels: ascending from 0 to 1.
        values: the quantile at each of `levels`.
    """
    return round(float(np.interp(level, levels, values)))
