"""How many images a set without stated sizes trains, validates and tests on."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from cellbench.errors import UserError


def part_sizes(name: str, sizes: Sequence[int], own_test: bool) -> tuple[int, int, int]:
    """The units of train, validation and test of a set that states no sizes: 60, 20 and 20 %.

    The cuts are where the shares of the images are met best. Of a set with a test part of its own,
    three quarters and one quarter of the rest.

    Args:
        name: of the set, for messages.
        sizes: images of every unit, in their order.
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
        last = len(sizes) - needed + len(cuts) + 1  # one unit at least is left for each part
        among = np.arange(cuts[-1] + 1, last)
        cuts.append(int(among[np.abs(ends[among - 1] - share * ends[-1]).argmin()]))
    cuts += [len(sizes)] * (4 - len(cuts))
    first, second, third = (b - a for a, b in pairwise(cuts))
    return first, second, third
