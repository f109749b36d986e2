"""The data set that a name stands for, on disk or not."""

from cellbench import plugin_index
from cellbench.data.contracts import DataSet
from cellbench.data.own_sets.own_dataset import own_dataset
from cellbench.data.stored_set import known_sets, own_manifest
from cellbench.errors import UserError
from cellbench.registry import DATASETS, SIMULATORS
from cellbench.unknown_sets import unknown_set


def find_dataset(name: str) -> DataSet:
    """The data set of a name, the one that a simulator of it stands for, or a set of one's own.

    Raises:
        UserError: there is no data set and no simulator of this name.
    """
    if name in SIMULATORS:
        name = SIMULATORS.get(name).stands_for  # type: ignore[attr-defined]
    own = None if name in DATASETS else own_manifest(name)
    if own is not None:
        return own_dataset(own)
    try:
        dataset: DataSet = DATASETS.build({"type": name})
    except UserError:
        if name in DATASETS or plugin_index.unread_modules():  # a plugin that failed is named
            raise
        raise UserError(unknown_set(name, known_sets())) from None
    return dataset
