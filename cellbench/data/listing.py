"""Listing of registered data sets and simulators, and of the sets on disk."""

from dataclasses import dataclass

import numpy as np

from cellbench.data.stored_set import is_on_disk, open_set, own_sets
from cellbench.errors import UserError
from cellbench.registry import DATASETS, SIMULATORS

UNSTATED = "none stated"


@dataclass(frozen=True, slots=True)
class SetRow:
    """Row of the listing: a data set or simulator.

    Attributes:
        set: its name.
        images: number of images; 0 if unknown.
        cells_per_image: mean and standard deviation; None if unknown.
        on_disk: number of images on disk; None if the set is not there.
        simulator: that stands in for it; None without.
        manifest_hash: of the set on disk.
        licence: of its images.
        to_do: what is missing and the command that provides it; empty if nothing is.
    """

    set: str
    images: int
    cells_per_image: tuple[float, float] | None
    on_disk: int | None
    simulator: str | None
    manifest_hash: str | None
    licence: str
    to_do: str


def list_sets() -> list[SetRow]:
    """List published sets, simulators and own sets; the error of a broken one is in `to_do`."""
    return [
        *map(_published, DATASETS.names()),
        *map(_simulated, SIMULATORS.names()),
        *map(_own, own_sets()),
    ]


def _published(name: str) -> SetRow:
    try:
        dataset = DATASETS.build({"type": name})
        stored = open_set(name) if is_on_disk(name) else None
    except UserError as error:  # one broken plugin or manifest must not hide the others
        return SetRow(name, 0, None, None, None, None, "", str(error))
    to_do = ""
    if stored is None:
        fetch = f"`cellbench data fetch {name}`, or " if dataset.archives else ""
        to_do = f"{fetch}`cellbench data import {name} --from DIR`; {dataset.instructions}"
    elif dataset.images not in (None, len(stored)):
        to_do = f"incomplete; `cellbench data import {name} --from DIR --force` takes a whole copy"
    return SetRow(
        set=name,
        images=dataset.images or (0 if stored is None else len(stored)),
        cells_per_image=dataset.count,
        on_disk=None if stored is None else len(stored),
        simulator=dataset.simulator or None,
        manifest_hash=None if stored is None else stored.manifest_hash,
        licence=dataset.licence or UNSTATED,
        to_do=to_do,
    )


def _simulated(name: str) -> SetRow:
    try:
        simulator = SIMULATORS.get(name)
        stored = open_set(name) if is_on_disk(name) else None
    except UserError as error:
        return SetRow(name, 0, None, None, None, None, "", str(error))
    counts = [] if stored is None else [entry.count for entry in stored.manifest.entries]
    return SetRow(
        set=name,
        images=getattr(simulator, "images", 0),
        cells_per_image=(float(np.mean(counts)), float(np.std(counts))) if counts else None,
        on_disk=None if stored is None else len(counts),
        simulator=None,
        manifest_hash=None if stored is None else stored.manifest_hash,
        licence="free, drawn",
        to_do="",
    )


def _own(name: str) -> SetRow:
    stored = open_set(name)
    counts = [entry.count for entry in stored.manifest.entries]
    return SetRow(
        set=name,
        images=len(counts),
        cells_per_image=(float(np.mean(counts)), float(np.std(counts))),
        on_disk=len(counts),
        simulator=None,
        manifest_hash=stored.manifest_hash,
        licence="your own",
        to_do="",
    )
