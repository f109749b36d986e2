"""Whether a record of anyone's can be counted with or verified.

`read_record` checks shapes and ranges; what is named here becomes a path, a seed or a comparison
where a run is used again, and is held to what runs write.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellbench.errors import UserError
from cellbench.records.record_file import read_record

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_RUN_ID = re.compile(r"[0-9a-f]{16,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RANGES = {"split": 10**6, "seed": 2**32 - 1, "iterations": 10**9}


def read_foreign_record(path: Path) -> dict[str, Any]:
    """Read a record, whoever wrote it, so that all of it can be used but its config.

    Raises:
        UserError: it is no record, or holds what no run writes; one sentence that names it.
    """
    record = read_record(path)
    wrong = _wrong(record)
    if wrong:
        raise UserError(
            f"The record {path} was not written by a run ({wrong}); restore it from version "
            "control, or run again."
        )
    return record


def _wrong(record: Mapping[str, Any]) -> str | None:
    """What no run writes, as a phrase; None if there is nothing."""
    for key, pattern in (("dataset", _NAME), ("protocol", _NAME), ("run_id", _RUN_ID)):
        if not pattern.fullmatch(record[key]):
            return f"{key} is {record[key][:60]!r}"
    for key, most in _RANGES.items():
        if not 0 <= record[key] <= most:
            return f"{key} is {record[key]} and not from 0 to {most}"
    if "step" not in record["selection"]:
        return "selection lacks 'step'"
    if "mae" not in record["metrics"]:
        return "metrics lacks 'mae'"
    points, scored = record["points"], record.get("scored_weights", {"sha256": "0" * 64})
    if points is not None and not str(points["file"]).endswith(".npz"):
        return f"points.file is {points['file'][:60]!r}"
    if not isinstance(scored, Mapping):
        return "scored_weights is no object"
    hashes = {
        "weights.sha256": record["weights"]["sha256"] or "0" * 64,
        "scored_weights.sha256": scored.get("sha256"),
        "points.sha256": "0" * 64 if points is None else points["sha256"],
    }
    for where, value in hashes.items():
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            return f"{where} is no SHA-256"
    return None
