"""From the name of a set to a set on disk: as it is, downloaded, or drawn."""

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
    """Find a set: on disk, else downloaded, else its simulator under the simulator's own name.

    Args:
        name: of a data set, or of a simulator, which is then drawn and no stand-in.
        strict: whether to stop where the simulator would stand in.
        say: takes the sentences that tell the user what is used instead.

    Raises:
        UserError: unknown name; or the set cannot be had and nothing may stand in, with the
            command that mends it.
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
    """Try to download a set; why it could not be had, None where it could or nobody offers it."""
    if not dataset.archives:
        return None
    from cellbench.data.fetch import fetch_set  # every reader of annotations, half a second

    try:
        fetch_set(dataset)
    except UserError as error:
        return error
    return None
