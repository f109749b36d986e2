"""Simulated data sets: draw them once and keep them on disk under their own names."""

import os
from collections.abc import Iterator
from functools import partial

import numpy as np

from cellbench.data.contracts import SimulatedImage, Simulator
from cellbench.data.pipeline import prefetch
from cellbench.data.set_writer import NewItem, Progress, write_set
from cellbench.data.stored_set import StoredSet, find_set, is_on_disk
from cellbench.errors import UserError
from cellbench.files.writing import sha256
from cellbench.registry import SIMULATORS

# Images per thread that may wait to be written, which bounds memory.
_AHEAD = 2


def simulate_set(name: str, *, seed: int = 0, progress: Progress | None = None) -> StoredSet:
    """Open a simulated set, drawing it first if it is not on disk.

    The first image is drawn again and compared, so that a set of an older simulator version is
    replaced.

    Args:
        name: name of a registered simulator, such as "adi-sim".
        seed: seed of the set; a seed other than 0 is kept as a separate set, "adi-sim-<seed>".
        progress: called after every drawn image.

    Raises:
        UserError: unknown simulator, or the disk is full.
    """
    simulator: Simulator = SIMULATORS.build({"type": name})
    set_name = name if seed == 0 else f"{name}-{seed}"
    first = _item(simulator, 0, seed)
    stored = _find_current(set_name, first)
    if stored is not None:
        return stored
    try:
        return write_set(
            set_name,
            _draw(simulator, seed, first),
            source=f"drawn by the simulator {name}, seed {seed}",
            notes=(f"Drawn, not photographed: it stands in for {simulator.stands_for}.",),
            stands_for=simulator.stands_for,
            seed=seed,
            force=is_on_disk(set_name),
            progress=progress,
            total=simulator.images,
        )
    except UserError:
        # Another process may have drawn the same set while this one waited for the lock.
        stored = _find_current(set_name, first)
        if stored is not None:
            return stored
        raise


def _find_current(set_name: str, first: NewItem) -> StoredSet | None:
    """Return the set on disk if its first image is what the simulator draws now, else None."""
    try:
        stored = find_set(set_name)
        entry = None if stored is None else stored.entry(first.image_id)
    except UserError:  # damaged, or without that image
        return None
    drawn = sha256(np.ascontiguousarray(first.picture).tobytes())
    return stored if entry is not None and entry.pixels_sha256 == drawn else None


def _draw(simulator: Simulator, seed: int, first: NewItem) -> Iterator[NewItem]:
    """Draw all images in order, on all cores; NumPy and SciPy kernels run in parallel threads."""
    yield first
    threads = os.cpu_count() or 1
    draw = partial(_item, simulator, seed=seed)
    yield from prefetch(draw, range(1, simulator.images), ahead=threads * _AHEAD, threads=threads)


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
