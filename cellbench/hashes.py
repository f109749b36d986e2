"""Hashes of configs, runs and records, and the check that a record is unchanged."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from cellbench.errors import UserError


def config_hash(config: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of a resolved config, JSON-able, as hexadecimal."""
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
    """Compute the run id: SHA-256, hexadecimal, of all that determines a run's result.

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


def run_id_of(record: Mapping[str, Any]) -> str:
    """Compute the run id from the fields of a record."""
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
    """Compute the SHA-256 of the content of a record, without its `content_hash`.

    Raises:
        UserError: a value has no JSON form; the message gives its key.
    """
    _check_json(record, "")
    return _sha256({k: v for k, v in record.items() if k != "content_hash"})


def is_intact(record: Mapping[str, Any]) -> bool:
    """Return whether a record that was read still has the content that was written."""
    content = {k: v for k, v in record.items() if k != "content_hash"}
    try:
        # What was read is JSON: as `content_hash`, without the check of every value.
        return record.get("content_hash") == _sha256(content)
    except ValueError:
        return False


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


def _sha256(value: Any) -> str:
    """Compute the SHA-256 of the canonical JSON of a value: sorted keys, no spaces, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
