"""Which pictures of a set a method has learned from: its errors on them say nothing of others."""

from collections.abc import Mapping
from typing import Any

from cellbench.data.duplicates import copies_within
from cellbench.data.splits import holds_out, make_split
from cellbench.data.stored_set import StoredSet, is_on_disk, open_set
from cellbench.errors import UserError
from cellbench.records.trained_runs import TrainedRun

ORIGIN = ("dataset", "manifest_hash", "protocol", "split")
"""What a record has of a training, by which its pictures are found."""


def held_out(run: TrainedRun, stored: StoredSet) -> list[str]:
    """The pictures of a set that a method may be judged on: it has not learned from them.

    Of the set that it was trained on these are the test part, in the record's order, also of a
    revision that is not on this disk. What cannot be known of a training whose pictures are not on
    this disk is taken for not learned.
    """
    learned = set(known_pictures(run, stored) or ())
    ids = list(stored.ids)
    if run.record["dataset"] == stored.name:
        there = set(ids)
        tested = run.record["images"] if holds_out(run.record["protocol"]) else []
        ids = [image["id"] for image in tested if image["id"] in there]
    return [image_id for image_id in ids if image_id not in learned]


def known_pictures(run: TrainedRun, stored: StoredSet) -> list[str] | None:
    """The pictures of a set that a model has learned from, or was chosen on.

    Pictures are compared by what they show: the names of copies may be any. A model whose counts
    were corrected for one set after another knows the pictures of all.

    Args:
        run: the model.
        stored: the set.

    Returns:
        Their ids; None where none is found and some training pictures are not on this disk.
    """
    found = [_known(origin, stored) for origin in (run.record, *corrected_after(run.record))]
    ids = {image_id for known in found for image_id in known or ()}
    return None if None in found and not ids else sorted(ids)


def corrected_after(record: Mapping[str, Any]) -> list[Any]:
    """The trainings that came before the correction which a record is of, each as `ORIGIN`."""
    kept = record.get("kept_model")
    before = kept.get("learned_from") if isinstance(kept, Mapping) else None
    return before if isinstance(before, list) else []


def _known(origin: Any, stored: StoredSet) -> list[str] | None:
    """The pictures of a set among those of a training; None where these are not on this disk.

    Args:
        origin: what a record has of the training: `ORIGIN`.
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
        there = open_set(name)
        if there.manifest_hash != manifest_hash:
            return None
        seen = there.ids
        if holds_out(protocol):
            parts = make_split(there, protocol=protocol, split=split)
            seen = parts.train + parts.val
        if there.manifest_hash == stored.manifest_hash:
            return sorted(seen)
        return copies_within(stored, there, seen)
    except UserError:  # damaged, or a protocol of another cellbench
        return None
