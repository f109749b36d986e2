"""Where the chance of a simulated set comes from: one generator an image, stratified counts."""

from collections.abc import Sequence
from operator import index as as_integer

import numpy as np

from cellbench.errors import UserError


def generator(seed: int, index: int, stream: int) -> np.random.Generator:
    """The generator that draws one image, whatever was drawn before it.

    Args:
        seed: of the set, 0 or more.
        index: of the image, 0 or more.
        stream: keeps simulators, and the parts of one, apart.

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
    """A level in [0, 1) for one image, such that a whole set has one in each of `images` strata.

    So the counts of a set have nearly the published mean and deviation for every seed, and its
    extremes are always there. Images past the end of a set begin a new one.

    Args:
        index: of the image.
        seed: of the set.
        images: how many a whole set has.
        stream: keeps simulators, and the quantities of one, apart.
    """
    block, place = divmod(as_integer(index), images)
    order = generator(seed, block, stream).permutation(images)
    within = generator(seed, index, stream + 1).random()
    return float((order[place] + within) / images)


def quantile(level: float, levels: Sequence[float], values: Sequence[float]) -> int:
    """The whole number at a level of a distribution that is given by some of its quantiles.

    Args:
        level: in [0, 1].
        levels: rising from 0 to 1.
        values: the quantile at each of `levels`.
    """
    return round(float(np.interp(level, levels, values)))
