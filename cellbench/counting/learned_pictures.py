"""Training pictures of a method within a set, which its error must not be estimated on."""

from collections.abc import Mapping
from typing import Any

from cellbench.data.duplicates import find_copies
from cellbench.data.splits import holds_out, make_split
from cellbench.data.stored_set import StoredSet, is_on_disk, open_set
from cellbench.errors import UserError
from cellbench.records.trained_runs import TrainedRun

ORIGIN = ("dataset", "manifest_hash", "protocol", "split")
"""Keys of a record that identify its training pictures."""


def held_out(run: TrainedRun, stored: StoredSet) -> list[str]:
    """List the pictures of a set that a method can be evaluated on: those it was not trained on.

    For the set that it was trained on these are the test part, in the record's order, also if the
    record is of another revision. Pictures of a training set that is not on this disk cannot be
    compared, and count as not trained on.
    """
    learned = set(pictures_learned_from(run, stored) or ())
    ids = list(stored.ids)
    if run.record["dataset"] == stored.name:
        present = set(ids)
        tested = run.record["images"] if holds_out(run.record["protocol"]) else []
        ids = [image["id"] for image in tested if image["id"] in present]
    return [image_id for image_id in ids if image_id not in learned]


def pictures_learned_from(run: TrainedRun, stored: StoredSet) -> list[str] | None:
    """List the pictures of a set that a model was trained, selected or calibrated on.

    Pictures are compared by content, since copies may have other names. If the model's counts
    were calibrated for several sets in turn, the pictures of all of them are included.

    Args:
        run: the model.
        stored: the set.

    Returns:
        Their ids; None if none is found and some training pictures are not on this disk.
    """
    found = [_known(origin, stored) for origin in (run.record, *earlier_trainings(run.record))]
    ids = {image_id for known in found for image_id in known or ()}
    return None if None in found and not ids else sorted(ids)


def earlier_trainings(record: Mapping[str, Any]) -> list[Any]:
    """List the trainings that preceded the calibration of a record, each as `ORIGIN`."""
    kept = record.get("kept_model")
    before = kept.get("learned_from") if isinstance(kept, Mapping) else None
    return before if isinstance(before, list) else []


def _known(origin: Any, stored: StoredSet) -> list[str] | None:
    """List the pictures of a set that a training used; None if its own are not on this disk.

    Args:
        origin: the training, as `ORIGIN`.
        stored: the set.
    """
    match origin:
        case {
            "dataset": str(name),
            "manifest_hash": str(manifest_hash),
            "protocol": str(protocol),
            "split": int(split),
        } if is_on_disk(name):
            pass
        case _:
            return None
    try:
        training_set = open_set(name)
        if training_set.manifest_hash != manifest_hash:
            return None
        seen = training_set.ids
        if holds_out(protocol):
            parts = make_split(training_set, protocol=protocol, split=split)
            seen = parts.train + parts.val
        if training_set.manifest_hash == stored.manifest_hash:
            return sorted(seen)
        return find_copies(stored, training_set, seen)
    except UserError:  # the set is damaged, or the protocol is of another version of cellbench
        return None
