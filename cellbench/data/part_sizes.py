"""Sizes of the training, validation and test parts of a set that specifies none."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from cellbench.errors import UserError


def part_sizes(name: str, sizes: Sequence[int], own_test: bool) -> tuple[int, int, int]:
    """Compute how many units go into training, validation and test: 60, 20 and 20 % of the images.

    A unit is an image or a group of images that no split divides; the cuts between units come
    closest to these shares. If the set has its own test part, the units are those outside it:
    75 % of their images train, 25 % validate, and the third size is 0.

    Args:
        name: name of the set, for messages.
        sizes: number of images of every unit, in their order.
        own_test: whether the set has a test part of its own.

    Raises:
        UserError: there are too few units.
    """
    needed = 2 if own_test else 3
    if len(sizes) < needed:
        single = len(sizes) == 1
        what = "image" if single else "images"
        if len(sizes) != sum(sizes):
            what = "group of images" if single else "groups of images"
        raise UserError(
            f"{name} has {len(sizes)} {what} to part and {needed} are needed; import more."
        )
    ends = np.cumsum(sizes)
    cuts = [0]
    for share in (0.75,) if own_test else (0.6, 0.8):
        last = len(sizes) - needed + len(cuts) + 1  # leaves at least one unit for each part
        among = np.arange(cuts[-1] + 1, last)
        cuts.append(int(among[np.abs(ends[among - 1] - share * ends[-1]).argmin()]))
    cuts += [len(sizes)] * (4 - len(cuts))
    first, second, third = (b - a for a, b in pairwise(cuts))
    return first, second, third
