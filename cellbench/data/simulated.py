"""Sets that a simulator draws: kept on disk like real ones, under their own names."""

import os
from collections.abc import Iterator
from functools import partial

import numpy as np

from cellbench.data.contracts import SimulatedImage, Simulator
from cellbench.data.pipeline import look_ahead
from cellbench.data.set_writer import NewItem, Progress, write_set
from cellbench.data.stored_set import StoredSet, find_set, is_on_disk
from cellbench.errors import UserError
from cellbench.files.writing import sha256
from cellbench.registry import SIMULATORS

# Pictures that may wait to be written, per thread: memory stays bounded.
_AHEAD = 2


def simulate_set(name: str, *, seed: int = 0, progress: Progress | None = None) -> StoredSet:
    """Open a simulated set, drawing it first where it is not on disk.

    Its first image is drawn again and compared, so that a set that an older simulator drew is
    replaced.

    Args:
        name: of a registered simulator, "adi-sim".
        seed: another seed is another set, kept beside under "adi-sim-<seed>".
        progress: called after every image that is drawn.

    Raises:
        UserError: unknown simulator, or the disk is full.
    """
    simulator: Simulator = SIMULATORS.build({"type": name})
    kept = name if seed == 0 else f"{name}-{seed}"
    first = _item(simulator, 0, seed)
    stored = _current(kept, first)
    if stored is not None:
        return stored
    try:
        return write_set(
            kept,
            _draw(simulator, seed, first),
            source=f"drawn by the simulator {name}, seed {seed}",
            notes=(f"Drawn, not photographed: it stands in for {simulator.stands_for}.",),
            stands_for=simulator.stands_for,
            seed=seed,
            force=is_on_disk(kept),
            progress=progress,
            total=simulator.images,
        )
    except UserError:
        # Another process may have drawn the same set while this one waited for the lock.
        stored = _current(kept, first)
        if stored is not None:
            return stored
        raise


def _current(kept: str, first: NewItem) -> StoredSet | None:
    """The set on disk where it is what the simulator draws today, by its first image."""
    try:
        stored = find_set(kept)
        entry = None if stored is None else stored.entry(first.image_id)
    except UserError:  # damaged, or without that image
        return None
    drawn = sha256(np.ascontiguousarray(first.picture).tobytes())
    return stored if entry is not None and entry.pixels_sha256 == drawn else None


def _draw(simulator: Simulator, seed: int, first: NewItem) -> Iterator[NewItem]:
    """Draw all images in order, on all cores: the kernels of NumPy and SciPy run beside others."""
    yield first
    threads = os.cpu_count() or 1
    draw = partial(_item, simulator, seed=seed)
    yield from look_ahead(draw, range(1, simulator.images), ahead=threads * _AHEAD, threads=threads)


def _item(simulator: Simulator, index: int, seed: int) -> NewItem:
    drawn: SimulatedImage = simulator.draw(index, seed=seed)
    height, width = drawn.pixels.shape[:2]
    return NewItem(
        image_id=simulator.image_id(index),
        picture=drawn.pixels,
        size=(width, height),
        points=drawn.points,
        part=drawn.part,
        group=drawn.group,
    )
