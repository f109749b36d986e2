"""Records: one run, one immutable JSON file with everything that its score rests on.

`leaderboards/records/<set>/<method>-<protocol>-s<split>-r<seed>-<id>.json`; the predicted points
are beside it in `<same name>.points.npz`. Both are text or arrays that any tool reads, and the
same result always gives the same bytes.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellbench.errors import UserError
from cellbench.files.reading import read_json
from cellbench.files.writing import safe_id, write_atomically
from cellbench.records.point_lists import PointLists, pack_points
from cellbench.records.shape import check_shape

SCHEMA = 1

# Every key of a record, in the order of the file, with the JSON type that it has.
FIELDS: dict[str, tuple[type, ...]] = {
    "schema": (int,),
    "run_id": (str,),
    "method": (str,),
    "method_title": (str,),
    "config": (dict,),
    "config_hash": (str,),
    "recipe": (int,),
    "plugins": (list,),
    "dataset": (str,),
    "simulated": (bool,),
    "manifest_hash": (str,),
    "protocol": (str,),
    "split": (int,),
    "seed": (int,),
    "iterations": (int,),
    "epochs": (int, float),
    "weights": (dict,),
    "selection": (dict,),
    "thresholds": (dict,),
    "parameters": (int,),
    "gflops": (int, float, type(None)),
    "images": (list,),
    "metrics": (dict,),
    "curve": (list,),
    "points": (dict, type(None)),
    "timing": (dict,),
    "environment": (dict,),
    "content_hash": (str,),
}

# Keys that older records lack: the SHA-256 of the weights that were scored.
ADDED_FIELDS: dict[str, tuple[type, ...]] = {"scored_weights": (dict,)}

# What may differ between two runs of one experiment, and the hash that covers it.
_CIRCUMSTANCES = ("timing", "environment", "content_hash")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_RUN_ID = re.compile(r"[0-9a-f]{16,64}")
_ID_CHARACTERS = 16


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN.

    Raises:
        UserError: JSON has no word for something in it; the message names where it is.
    """
    _check_json(value, "")
    return _dump_canonical(value)


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a resolved config, hexadecimal; the same as the config's own."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def run_id(
    config: Mapping[str, Any],
    recipe: int,
    manifest_hash: str,
    weights_hash: str | None,
    protocol: str,
    split: int,
    seed: int,
    iterations: int,
) -> str:
    """SHA-256, hexadecimal, of all that decides a run's result; its first 16 name the file.

    Args:
        config: resolved, JSON-able.
        recipe: raised when a code change alters results.
        manifest_hash: of the data set.
        weights_hash: SHA-256 of the pretrained weights; None without.
        protocol: name.
        split: number.
        seed: number.
        iterations: training steps.
    """
    return _sha256(
        canonical(
            {
                "config": config,
                "recipe": recipe,
                "manifest": manifest_hash,
                "weights": weights_hash,
                "protocol": protocol,
                "split": split,
                "seed": seed,
                "iterations": iterations,
            }
        )
    )


def run_id_of(record: Mapping[str, Any]) -> str:
    """The run id that follows from what a record says of its run."""
    return run_id(
        config=record["config"],
        recipe=record["recipe"],
        manifest_hash=record["manifest_hash"],
        weights_hash=record["weights"]["sha256"],
        protocol=record["protocol"],
        split=record["split"],
        seed=record["seed"],
        iterations=record["iterations"],
    )


def content_hash(record: Mapping[str, Any]) -> str:
    """SHA-256 of all that a record says, but for this hash itself."""
    return _sha256(canonical({k: v for k, v in record.items() if k != "content_hash"}))


def is_intact(record: Mapping[str, Any]) -> bool:
    """Whether a record that was read still has the content that was written."""
    content = {k: v for k, v in record.items() if k != "content_hash"}
    try:
        # What was read is JSON: this is `content_hash` without looking at every value again.
        return record.get("content_hash") == _sha256(_dump_canonical(content))
    except ValueError:
        return False


def records_folder(store: Path) -> Path:
    """Where a store keeps its records, one folder a data set."""
    return store / "leaderboards" / "records"


def write_record(store: Path, record: Mapping[str, Any], points: PointLists | None = None) -> Path:
    """Write the record of a finished run, and its points beside it.

    Args:
        store: see `cellbench.paths.store`.
        record: all keys of `FIELDS` but `schema`, `points` and `content_hash`, which are added.
        points: per image id the (N, 2) float32 points and their (N,) scores or None; None for
            a method without points.

    Returns:
        The file. A record of the same run that says the same but for timing and environment is
        left as it is.

    Raises:
        UserError: a value is missing, of a wrong type or not finite; the file holds another
            result; the disk is full or cannot be written.
    """
    name = _file_stem(record)
    path = records_folder(store) / record["dataset"] / f"{name}.json"
    sidecar = None if points is None else pack_points(points)
    reference = None
    if sidecar is not None:
        file = f"{name}.points.npz"
        reference = {"file": file, "sha256": hashlib.sha256(sidecar).hexdigest()}
    complete = dict(record, schema=SCHEMA, points=reference, content_hash="")
    _check_fields(complete, "The record")
    complete["content_hash"] = content_hash(complete)
    if path.exists():
        differing = same_result(read_record(path), complete)
        if differing:
            raise UserError(
                f"{path} holds another result of the same run (different: "
                f"{', '.join(differing)}) and a record is never overwritten; move it away, or "
                "raise the recipe if the code has changed."
            )
        return path
    if sidecar is not None and reference is not None:
        _write(path.with_name(reference["file"]), sidecar)
    _write(path, _layout(complete).encode("utf-8"))
    return path


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        UserError: it is missing, cut off, of a newer cellbench, or not a record; one sentence
            that names the file.
    """
    try:
        record = read_json(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"The record {path} cannot be read ({reason}).") from error
    except ValueError as error:
        raise UserError(
            f"The record {path} is cut off or is no JSON ({error}); restore it from version "
            "control, or delete it and run again."
        ) from error
    return check_record(record, path)


def check_record(record: Any, path: Path) -> dict[str, Any]:
    """Check the shape of what was read from a file; the same errors as `read_record`."""
    what = f"The record {path}"
    if not isinstance(record, dict):
        raise UserError(f"{what} holds a {type(record).__name__} where a JSON object is wanted.")
    schema = record.get("schema")
    if isinstance(schema, int) and schema != SCHEMA:
        mend = "upgrade it" if schema > SCHEMA else "run again to have a record of today"
        raise UserError(f"{what} is of schema {schema} and this cellbench reads {SCHEMA}; {mend}.")
    _check_fields(record, what)
    return record


def find_record(store: Path, run_id: str) -> Path | None:
    """The file of a run's record; None if there is none.

    Args:
        store: see `cellbench.paths.store`.
        run_id: whole, or its first 16 characters.

    Raises:
        UserError: this is no run id, or the file cannot be read.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise UserError(f"A run id is 16 to 64 hexadecimal digits, not {run_id!r}.")
    for path in sorted(records_folder(store).glob(f"*/*-{run_id[:_ID_CHARACTERS]}.json")):
        if read_record(path)["run_id"].startswith(run_id):
            return path
    return None


def same_result(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The keys in which two records differ, timing and environment apart; empty if in none.

    A record that is older than a key does not differ in it.
    """
    apart = {*_CIRCUMSTANCES, *(key for key in ADDED_FIELDS if key not in a or key not in b)}
    keys = [k for k in sorted(a.keys() | b.keys()) if k not in apart]
    absent = object()
    return [k for k in keys if _plain(a.get(k, absent)) != _plain(b.get(k, absent))]


def _plain(value: Any) -> Any:
    """As JSON gives it back: no tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(child) for key, child in value.items()}
    return [_plain(child) for child in value] if isinstance(value, list | tuple) else value


def _file_stem(record: Mapping[str, Any]) -> str:
    missing = [key for key in FIELDS if key not in record]
    unset = [key for key in missing if key not in ("schema", "points", "content_hash")]
    if unset:
        raise UserError(f"The record lacks {', '.join(unset)}; whoever writes it must add that.")
    if not _NAME.fullmatch(str(record["dataset"])):
        raise UserError(
            f"The data set of a record is named {record['dataset']!r}; allowed are small letters, "
            "digits, dots, dashes and underscores."
        )
    if not _RUN_ID.fullmatch(str(record["run_id"])):
        raise UserError(f"A run id is 16 to 64 hexadecimal digits, not {record['run_id']!r}.")
    method, protocol = safe_id(str(record["method"])), safe_id(str(record["protocol"]))
    short = record["run_id"][:_ID_CHARACTERS]
    return f"{method}-{protocol}-s{record['split']}-r{record['seed']}-{short}"


def _check_fields(record: Mapping[str, Any], what: str) -> None:
    for key, types in FIELDS.items():
        if key not in record:
            raise UserError(f"{what} lacks {key!r}; it was not written whole: run again.")
        value = record[key]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            wanted = " or ".join("null" if t is type(None) else t.__name__ for t in types)
            raise UserError(f"{what} says {key} = {str(value)[:40]!r} where {wanted} is wanted.")
    try:
        check_shape(record)
    except ValueError as error:
        raise UserError(
            f"{what} is damaged ({error}); restore it from version control, or delete it and run "
            "again."
        ) from None


def _check_json(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, child in value.items():
            if not isinstance(key, str):
                raise UserError(f"{where or 'The record'} has the key {key!r}, which is no text.")
            _check_json(child, f"{where}.{key}" if where else key)
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            _check_json(child, f"{where}.{index}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{where} is {value}; a record holds finite numbers and null.")
    elif value is not None and type(value) not in (bool, int, str):
        raise UserError(
            f"{where} is of type {type(value).__name__}; a record holds text, numbers, true, "
            "false, null, lists and dicts."
        )


def _layout(record: Mapping[str, Any]) -> str:
    """One line a key, and one a row of the long lists, so that a diff shows what changed."""
    lines = []
    extra = [key for key in record if key not in FIELDS]
    for key in [*FIELDS, *sorted(extra)]:
        value = record[key]
        if key in ("images", "curve", "plugins") and value:
            rows = ",\n".join("  " + _dump(row) for row in value)
            lines.append(f"{json.dumps(key)}: [\n{rows}\n]")
        else:
            lines.append(f"{json.dumps(key)}: {_dump(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _dump_canonical(value: Any) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


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


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
