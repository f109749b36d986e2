"""Resolve the name of a data set to a set on disk: stored, downloaded or simulated."""

from collections.abc import Callable

from cellbench.data.contracts import DataSet
from cellbench.data.named_dataset import find_dataset
from cellbench.data.simulated import simulate_set
from cellbench.data.stored_set import StoredSet, find_set, how_to_get
from cellbench.errors import UserError
from cellbench.registry import SIMULATORS


def resolve_set(
    name: str,
    *,
    strict: bool,
    say: Callable[[str], None],
) -> StoredSet:
    """Return a set from disk, else download it, else simulate it under the simulator's name.

    Args:
        name: name of a data set or of a simulator.
        strict: whether to raise an error instead of using the simulator of a data set.
        say: called with each sentence on what was downloaded or is used instead.

    Raises:
        UserError: the name is unknown; or the set is not available and may not be simulated, with
            the command that gets it.
    """
    if name in SIMULATORS:
        return simulate_set(name)
    stored = find_set(name)
    if stored is not None:
        return stored
    dataset = find_dataset(name)
    failure = _fetch(dataset)
    stored = find_set(name)
    if stored is not None:
        say(f"{dataset.title} was downloaded.")
        return stored
    if strict or not dataset.simulator:
        raise failure or UserError(f"{name} is not on disk; {how_to_get(name)}.")
    if failure is not None:
        say(str(failure))
    say(
        f"{dataset.title} is not on disk: the simulator {dataset.simulator} stands in, and its "
        f"scores are no scores on {dataset.title}; {how_to_get(name)}."
    )
    return simulate_set(dataset.simulator)


def _fetch(dataset: DataSet) -> UserError | None:
    """Download a set if it has archives; return the error of a failed download, else None."""
    if not dataset.archives:
        return None
    from cellbench.data.fetch import fetch_set  # imports all annotation readers, half a second

    try:
        fetch_set(dataset)
    except UserError as error:
        return error
    return None
