"""Record files: one immutable JSON file per run, with everything that its score rests on.

`leaderboards/records/<set>/<method>-<protocol>-s<split>-r<seed>-<id>.json`; the predicted points
are beside it in `<same name>.points.npz`. `cellbench.records.model` defines the fields.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbench.errors import UserError
from cellbench.files.reading import read_json
from cellbench.files.writing import safe_id, write_atomically
from cellbench.hashes import content_hash
from cellbench.records.point_lists import PointLists, pack_points, points_sha256

# pydantic takes a tenth of a second to import, which a leaderboard of cached records avoids.
if TYPE_CHECKING:
    from cellbench.records.model import Record

# Keys that may differ between two runs of one experiment, and the hash that covers them.
_CIRCUMSTANCES = ("schema", "timing", "environment", "training_pictures", "content_hash")

_RUN_ID = re.compile(r"[0-9a-f]{16,64}")
_ID_CHARACTERS = 16


def records_folder(store: Path) -> Path:
    """Return the folder of a store's records, which has one folder per data set."""
    return store / "leaderboards" / "records"


def write_record(store: Path, record: Mapping[str, Any], points: PointLists | None = None) -> Path:
    """Write the record of a finished run, and its points beside it.

    Args:
        store: see `cellbench.paths.store`.
        record: all keys of `Record` but `schema`, `points` and `content_hash`, which are added.
        points: per image id the (N, 2) float32 points and their (N,) scores or None; None for
            a method without points.

    Returns:
        The record's file. A record of the same run with the same result is left as it is.

    Raises:
        UserError: a value is missing, of a wrong type or not finite; the file holds another
            result; the disk is full or cannot be written.
    """
    from cellbench.records.model import SCHEMA, Record

    complete = dict(record, schema=SCHEMA, points=None, content_hash="")
    complete["content_hash"] = content_hash(complete)
    Record.parse(complete, "The record")
    name = record_name(record)
    path = records_folder(store) / record["dataset"] / f"{name}.json"
    sidecar = b""
    if points is not None:
        sidecar = pack_points(points)
        complete["points"] = {
            "file": points_name(name),
            "sha256": hashlib.sha256(sidecar).hexdigest(),
            "points_sha256": points_sha256(points),
        }
        complete["content_hash"] = content_hash(complete)
    if path.exists():
        differing = differing_keys(read_record(path), complete)
        if differing:
            raise UserError(
                f"{path} holds another result of the same run (different: "
                f"{', '.join(differing)}) and a record is never overwritten; move it away, or "
                "raise the recipe if the code has changed."
            )
        return path
    if points is not None:
        _write(path.with_name(points_name(name)), sidecar)
    fields = [field.alias or key for key, field in Record.model_fields.items()]
    _write(path, _layout(complete, fields).encode("utf-8"))
    return path


def record_name(record: Mapping[str, Any]) -> str:
    """Return the name of a record's file without `.json`; safe on any system."""
    method, protocol = safe_id(record["method"]), safe_id(record["protocol"])
    short = record["run_id"][:_ID_CHARACTERS]
    return f"{method}-{protocol}-s{record['split']}-r{record['seed']}-{short}"


def points_name(name: str) -> str:
    """Return the name of the points file beside a record, from `record_name`."""
    return f"{name}.points.npz"


def parse_record(path: Path) -> "Record":
    """Read and validate a record.

    Raises:
        UserError: it is missing, cut off, of a newer cellbench, or not a record; one sentence
            that names the file.
    """
    from cellbench.records.model import Record

    try:
        raw = read_json(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"The record {path} cannot be read ({reason}).") from error
    except ValueError as error:
        raise UserError(
            f"The record {path} is cut off or is no JSON ({error}); restore it from version "
            "control, or delete it and run again."
        ) from error
    return Record.parse(raw, f"The record {path}")


def read_record(path: Path) -> dict[str, Any]:
    """Read and validate the JSON of a record; same errors as `parse_record`."""
    return parse_record(path).raw


def find_record(store: Path, run_id: str) -> Path | None:
    """Find the file of a run's record; None if there is none.

    Args:
        store: see `cellbench.paths.store`.
        run_id: whole, or its first 16 characters.

    Raises:
        UserError: `run_id` is no run id, or the file cannot be read.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise UserError(f"A run id is 16 to 64 hexadecimal digits, not {run_id!r}.")
    for path in sorted(records_folder(store).glob(f"*/*-{run_id[:_ID_CHARACTERS]}.json")):
        if read_record(path)["run_id"].startswith(run_id):
            return path
    return None


def differing_keys(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """List the keys in which two records differ, except timing and environment; empty if none.

    Only what the schemas of both hold is compared: the hash of the scored weights and the epochs of
    the whole schedule where both have them; of points, the hash of the points themselves where both
    have that; of parts, those that the older schema lists.
    """
    a, b = json.loads(_dump(a)), json.loads(_dump(b))  # tuples become lists
    apart = {
        *_CIRCUMSTANCES,
        *({"scored_weights", "whole_epochs"} - (a.keys() & b.keys())),
        "points",
    }
    if a.get("schema", 1) != b.get("schema", 1):
        older, newer = sorted((a, b), key=lambda record: int(record.get("schema", 1)))
        if all(part in newer["plugins"] for part in older["plugins"]):
            apart.add("plugins")
    absent = object()
    compared = (a.keys() | b.keys()) - apart
    differing = [key for key in compared if a.get(key, absent) != b.get(key, absent)]
    return sorted(differing + ["points"] * _other_points(a.get("points"), b.get("points")))


def _other_points(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> bool:
    if a is None or b is None:
        return a is not b
    key = "points_sha256" if "points_sha256" in a else "sha256"
    return ("points_sha256" in a) == ("points_sha256" in b) and a[key] != b[key]


def _layout(record: Mapping[str, Any], fields: list[str]) -> str:
    """Format a record, one line per key and per row of a long list, so that diffs are readable."""
    lines = []
    for key in [*fields, *sorted(record.keys() - set(fields))]:
        value = record.get(key)
        if key in ("images", "curve", "plugins") and value:
            rows = ",\n".join("  " + _dump(row) for row in value)
            lines.append(f"{json.dumps(key)}: [\n{rows}\n]")
        elif key in record:
            lines.append(f"{json.dumps(key)}: {_dump(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data)
    except UserError as error:
        reason = getattr(error.__cause__, "strerror", None) or str(error.__cause__)
        raise UserError(
            f"The record {path.name} could not be written to {path.parent} ({reason.lower()}) and "
            "nothing was kept of it; make room or name another folder with --store, and give the "
            "same command again: the trained weights are still in the run's folder."
        ) from error.__cause__
