"""One generator for each draw, so that chance never depends on what was drawn before."""

import hashlib
import json

import numpy as np


def generator(
    seed: int, split: int | str, epoch: int, image_id: str | None, draw: int = 0
) -> np.random.Generator:
    """The source of chance for one draw.

    A resumed run draws what an unbroken one does, and so does any worker, because the stream
    depends on these five values alone: not on the process, the platform or `hash()`.

    Args:
        seed: of the run.
        split: number or name of the split.
        epoch: pass over the training images, from 0.
        image_id: the image; None for what concerns a whole epoch, such as its order.
        draw: number of the draw from this image in this epoch.
    """
    return np.random.default_rng(_hash([int(seed), split, int(epoch), image_id, int(draw)], 16))


def step_seed(seed: int, split: int | str, step: int, rank: int = 0) -> int:
    """The seed of what a network itself draws in a training step (dropout, noise).

    Args:
        seed: of the run.
        split: number or name of the split.
        step: from 0, over all epochs.
        rank: of the process among several that train together.

    Returns:
        In 0..2**63 - 1, as torch takes it.
    """
    return _hash(["step", int(seed), split, int(step), int(rank)], 8) >> 1


def _hash(values: list[int | str | None], size: int) -> int:
    """A number of `size` bytes that is the same on every machine."""
    # JSON parts the values unambiguously: ("1", 12) never meets ("11", 2), nor 0 the text "0".
    digest = hashlib.blake2b(json.dumps(values).encode(), digest_size=size).digest()
    return int.from_bytes(digest, "little")
