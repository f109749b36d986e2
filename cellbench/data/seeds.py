"""Random generators and seeds that do not depend on earlier draws."""

import hashlib
import json

import numpy as np


def generator(
    seed: int, split: int | str, epoch: int, image_id: str | None, draw: int = 0
) -> np.random.Generator:
    """Return the random generator of one draw.

    Its stream depends only on these five values, not on the process, the platform or `hash()`, so
    a resumed run and any worker draw the same numbers as an uninterrupted run.

    Args:
        seed: seed of the run.
        split: number or name of the split.
        epoch: pass over the training images, from 0.
        image_id: the image; None for draws of a whole epoch, such as the order of images.
        draw: index of the draw from this image in this epoch.
    """
    return np.random.default_rng(_hash([int(seed), split, int(epoch), image_id, int(draw)], 16))


def step_seed(seed: int, split: int | str, step: int, rank: int = 0) -> int:
    """Return the seed for a network's own random numbers (dropout, noise) in a training step.

    Args:
        seed: seed of the run.
        split: number or name of the split.
        step: training step from 0, over all epochs.
        rank: rank of the process in distributed training.

    Returns:
        Seed in 0..2**63 - 1, the range of torch.
    """
    return _hash(["step", int(seed), split, int(step), int(rank)], 8) >> 1


def _hash(values: list[int | str | None], size: int) -> int:
    """Hash values to an integer of `size` bytes that is the same on every machine."""
    # JSON is unambiguous: ("1", 12) and ("11", 2) differ, and so do 0 and "0".
    digest = hashlib.blake2b(json.dumps(values).encode(), digest_size=size).digest()
    return int.from_bytes(digest, "little")
