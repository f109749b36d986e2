"""Look up a data set by name, whether or not it is on disk."""

from cellbench import plugin_index
from cellbench.data.contracts import DataSet
from cellbench.data.own_sets.own_dataset import own_dataset
from cellbench.data.stored_set import known_sets, own_manifest
from cellbench.errors import UserError
from cellbench.registry import DATASETS, SIMULATORS
from cellbench.unknown_sets import unknown_set


def find_dataset(name: str) -> DataSet:
    """Return the data set of a name, which may also be a simulator's or a user's own set's.

    For a simulator this is the real data set that it replaces.

    Raises:
        UserError: no data set, simulator or own set has this name.
    """
    if name in SIMULATORS:
        name = SIMULATORS.get(name).stands_for  # type: ignore[attr-defined]
    own = None if name in DATASETS else own_manifest(name)
    if own is not None:
        return own_dataset(own)
    try:
        dataset: DataSet = DATASETS.build({"type": name})
    except UserError:
        if name in DATASETS or plugin_index.unread_modules():  # the error names a failed plugin
            raise
        raise UserError(unknown_set(name, known_sets())) from None
    return dataset
