"""Warnings on counted pictures that differ from a method's training pictures, with remedies."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from cellbench.data.appearance import Appearance, is_summary, training_summary, width_of
from cellbench.data.stored_set import StoredSet, is_on_disk, open_set
from cellbench.errors import UserError
from cellbench.records.result_cache import read_results, write_results

TOO_NARROW = "The intervals are of pictures like those of the training, and too narrow for others."

# Kind of the cached summaries, and their version, to be raised when they are computed otherwise.
_KIND, _SUMMARY = "appearance", 1

# Widths with a smaller ratio are equal within the accuracy of their measurement.
_WIDER = 1.4
_STEPS = 20  # a suggested scale is a multiple of 1 / 20
_COLOURED = 0.12
_GREY = 0.04
_OTHER_GROUND = 0.25
_LEAST_PICTURES = 5
_SAME = 0.02


def known_summary(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the summary of a record's training pictures.

    It is computed from the set on this disk if the record is older than summaries.

    Returns:
        None if the record has none and its set is not on this disk, or is another revision.
    """
    kept = record.get("training_pictures")
    if is_summary(kept):
        return dict(kept)
    name = record["dataset"]
    try:
        if not is_on_disk(name):
            return None
        stored = open_set(name)
        if stored.manifest_hash != record["manifest_hash"]:
            return None
        return _summary_of(stored)
    except (UserError, ValueError):  # without a summary only a warning is omitted
        return None


def _summary_of(stored: StoredSet) -> dict[str, Any]:
    """Return the summary of all pictures of a set, cached until the set changes."""
    folder, stamp = stored.folder.absolute(), f"{_SUMMARY} {stored.manifest_hash}"
    kept, content = read_results(_KIND, folder).get("", ("", b""))
    if kept == stamp:
        with suppress(ValueError):
            summary = json.loads(content)
            if is_summary(summary):
                return dict(summary)
    found = training_summary(stored, stored.ids)
    write_results(_KIND, folder, {"": (stamp, json.dumps(found).encode("ascii"))})
    return found


def appearance_warnings(
    summary: Mapping[str, Any] | None, looks: Sequence[Appearance], *, scale: float
) -> list[str]:
    """Return one sentence per difference between new and training pictures, with a remedy if any.

    Args:
        summary: summary of the training pictures; None if unknown.
        looks: appearance of the new pictures.
        scale: resampling factor of the count.

    Returns:
        Sentences; empty without a summary or without new pictures.
    """
    if summary is None or not looks:
        return []
    found = []
    ground = float(np.median([look.ground for look in looks]))
    least, _, greatest = summary["ground"]
    if not least - _OTHER_GROUND <= ground <= greatest + _OTHER_GROUND:
        kinds = ("dark", "bright") if ground < least else ("bright", "dark")
        found.append(
            f"These pictures have a {kinds[0]} ground and those of the training a {kinds[1]} one: "
            "--invert swaps them."
        )
    saturation = float(np.median([look.saturation for look in looks]))
    least, _, greatest = summary["saturation"]
    if saturation > _COLOURED and greatest < _GREY:
        found.append("These pictures are in colour and those of the training were grey.")
    elif saturation < _GREY and least > _COLOURED:
        found.append("These pictures are grey and those of the training were in colour.")
    polarity = summary["polarity"] * (-1 if found and "--invert" in found[0] else 1)
    widths = [width for look in looks if (width := width_of(look, polarity)) is not None]
    if summary.get("width_px") and widths:
        here, there = float(np.median(widths)), float(summary["width_px"][1])
        ratio = there / (here * scale)
        if not 1 / _WIDER <= ratio <= _WIDER:
            better = max(1, round(scale * ratio * _STEPS)) / _STEPS
            found.append(
                f"Structures in these pictures are about {here:.0f} px wide and those of the "
                f"training were {there:.0f} px: --scale {better:g} makes them alike."
            )
    return found


def run_warnings(record: Mapping[str, Any], counts: Sequence[float]) -> list[str]:
    """Return warnings on a run of the protocol smoke, and on counts that hardly vary."""
    found = []
    if record["protocol"] == "smoke":
        found.append(
            f"This run of {record['method']} is of the protocol smoke, which tries whether "
            "everything runs on a few images: its counts mean nothing; train it with protocol v1."
        )
    if len(counts) >= _LEAST_PICTURES:
        mean, spread = float(np.mean(counts)), float(np.std(counts))
        if mean > 0 and spread <= _SAME * mean:
            found.append(
                f"The counts hardly vary ({min(counts):.1f} to {max(counts):.1f} in {len(counts)} "
                "pictures): a method that gives the same number everywhere has not found the cells."
            )
    return found
