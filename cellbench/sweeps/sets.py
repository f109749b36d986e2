"""Availability of the datasets of a comparison."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cellbench.data.named_dataset import find_dataset
from cellbench.data.splits import find_protocol, make_split
from cellbench.data.stored_set import how_to_get, is_on_disk, known_sets, open_set
from cellbench.errors import UserError
from cellbench.registry import SIMULATORS
from cellbench.unknown_sets import unknown_set


@dataclass(frozen=True, slots=True)
class DatasetAvailability:
    """A dataset of a comparison, and the reason why it cannot be used, if there is one.

    Attributes:
        name: as users type it.
        manifest_hash: hash of the contents; None if it is not on disk.
        problem: a sentence with the command that solves it; empty if the dataset can be used. A
            simulated dataset that is not on disk can be used: it is generated.
    """

    name: str
    manifest_hash: str | None = None
    problem: str = ""


def find_sets(
    names: Sequence[str], *, protocol: str, splits: Sequence[int]
) -> list[DatasetAvailability]:
    """Find datasets on disk and validate their splits.

    Args:
        names: names of datasets or simulators; repeated names count once.
        protocol: protocol of the splits.
        splits: split numbers.

    Raises:
        UserError: an unknown dataset or protocol.
    """
    find_protocol(protocol)
    known = known_sets()
    for name in names:
        if name.casefold() not in known:
            raise UserError(unknown_set(name, known))
    each = dict.fromkeys(name.casefold() for name in names)
    return [_availability(name, protocol, splits) for name in each]


def _availability(name: str, protocol: str, splits: Sequence[int]) -> DatasetAvailability:
    if not is_on_disk(name):
        if name in SIMULATORS:
            return DatasetAvailability(name)
        dataset = find_dataset(name)
        return DatasetAvailability(
            name, problem=f"{dataset.title} is not on disk; {how_to_get(name)}."
        )
    try:
        stored = open_set(name)
        for split in splits:
            make_split(stored, protocol=protocol, split=split)
    except UserError as error:
        return DatasetAvailability(name, problem=str(error))
    return DatasetAvailability(name, stored.manifest_hash)


def simulate_missing_sets(sets: Sequence[DatasetAvailability], say: Callable[[str], None]) -> bool:
    """Generate the simulated datasets that are not on disk, once for all runs.

    Returns:
        Whether there were any.
    """
    from cellbench.data.simulated import simulate_set

    missing = [stored.name for stored in sets if not stored.problem and not stored.manifest_hash]
    for name in missing:
        say(f"Drawing {name}.")
        simulate_set(name)
    return bool(missing)
