"""The types and ranges of what is inside a record; `records.FIELDS` has those of its keys."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], None]
"""Takes a value and its place in the record; raises ValueError, with that place."""

MOST_TEXT = 20_000
MOST_IMAGES = 1_000_000
LARGEST = 1e12

_SHA256 = re.compile(r"[0-9A-Za-z]{1,128}")
_NAMED = re.compile(r".{1,1000}", re.DOTALL)
_FILE = re.compile(r"[^/\\\x00-\x1f]{1,255}")


def check_shape(record: Mapping[str, Any]) -> None:
    """Check what the lists and objects of a record hold; keys that are not known may hold any.

    Args:
        record: whose keys have been checked.

    Raises:
        ValueError: a value is missing, of a wrong type or out of range; it names the place.
    """
    for key, check in _INSIDE.items():
        if record[key] is not None:
            check(record[key], key)
    ids = [row["id"] for row in record["images"]]
    if len(set(ids)) < len(ids):
        raise ValueError("images holds an image twice")


def _number(
    low: float = -LARGEST, high: float = LARGEST, *, whole: bool = False, null: bool = False
) -> Check:
    wanted = f"a {'whole ' if whole else ''}number from {low:g} to {high:g}"
    wanted += " or null" if null else ""

    def check(value: Any, place: str) -> None:
        if value is None and null:
            return
        kind = type(value)
        if not (kind is int or (kind is float and not whole)) or not low <= value <= high:
            raise _wrong(value, place, wanted)

    return check


def _text(pattern: re.Pattern[str] | None = None, *, null: bool = False) -> Check:
    def check(value: Any, place: str) -> None:
        if value is None and null:
            return
        if type(value) is not str or len(value) > MOST_TEXT:
            raise _wrong(value, place, f"text of at most {MOST_TEXT} characters")
        if pattern is not None and not pattern.fullmatch(value):
            raise _wrong(value, place, "a name or a hash")

    return check


def _object(required: Mapping[str, Check], *, optional: Mapping[str, Check] | None = None) -> Check:
    known = {**required, **(optional or {})}

    def check(value: Any, place: str) -> None:
        if type(value) is not dict:
            raise _wrong(value, place, "an object")
        for key in required:
            if key not in value:
                raise ValueError(f"{place} lacks {key!r}")
        for key, child in known.items():
            if key in value:
                child(value[key], f"{place}.{key}")

    return check


def _each(child: Check) -> Check:
    """An object of any keys whose values are alike."""

    def check(value: Any, place: str) -> None:
        if type(value) is not dict:
            raise _wrong(value, place, "an object")
        for key, inner in value.items():
            child(inner, f"{place}.{key}")

    return check


def _list(child: Check, *, most: int) -> Check:
    def check(value: Any, place: str) -> None:
        if type(value) is not list or len(value) > most:
            raise _wrong(value, place, f"a list of at most {most}")
        for index, inner in enumerate(value):
            child(inner, f"{place}.{index}")

    return check


def _wrong(value: Any, place: str, wanted: str) -> ValueError:
    return ValueError(f"{place} is {str(value)[:40]!r} where {wanted} is wanted")


_CELLS = _number(0, 1e9, null=True)
_FRACTION = _number(0, 1, null=True)
_MEASURED = _number(0, null=True)
_ANY_NUMBER = _number(null=True)
_LINE = _text()

_RADIUS = _object(
    {"radius_px": _number(0, 1e6)},
    optional={"precision": _FRACTION, "recall": _FRACTION, "f1": _FRACTION},
)
_METRIC_LISTS: dict[str, Check] = {
    "f1_by_radius": _list(_RADIUS, most=10_000),
    "nap_by_level": _each(_FRACTION),
}


def _metrics(value: Any, place: str) -> None:
    """Numbers or null, but for the lists that are known by name and what a later version adds."""
    for key, inner in value.items():
        if not isinstance(inner, dict | list):
            _ANY_NUMBER(inner, f"{place}.{key}")
        elif key in _METRIC_LISTS:
            _METRIC_LISTS[key](inner, f"{place}.{key}")


_INSIDE: dict[str, Check] = {
    "run_id": _text(_SHA256),
    "method": _text(_NAMED),
    "dataset": _text(_NAMED),
    "protocol": _text(_NAMED),
    "recipe": _number(0, 1e9, whole=True),
    "split": _number(0, 1e9, whole=True),
    "seed": _number(0, 2**63, whole=True),
    "iterations": _number(0, whole=True),
    "epochs": _number(0),
    "parameters": _number(0, whole=True),
    "gflops": _MEASURED,
    "plugins": _list(
        _object({}, optional=dict.fromkeys(("role", "name", "distribution"), _LINE)), most=10_000
    ),
    "weights": _object(
        {"source": _LINE, "sha256": _text(_SHA256, null=True)},
        optional={"wanted": _text(null=True)},
    ),
    "selection": _object({}, optional={"rule": _LINE, "step": _CELLS, "validation_mae": _MEASURED}),
    "thresholds": _each(_ANY_NUMBER),
    "images": _list(
        _object(
            {"id": _LINE, "truth": _number(0, 1e9), "prediction": _number(-1e9, 1e9)},
            optional=dict.fromkeys(("tp", "fp", "fn"), _number(0, 1e9, whole=True, null=True))
            | dict.fromkeys(("game1", "game2", "game3"), _CELLS),
        ),
        most=MOST_IMAGES,
    ),
    "metrics": _metrics,
    "curve": _list(
        _object({}, optional={"step": _CELLS, "loss": _ANY_NUMBER, "validation_mae": _MEASURED}),
        most=MOST_IMAGES,
    ),
    "points": _object({"file": _text(_FILE), "sha256": _text(_SHA256)}),
    "timing": _object(
        {},
        optional=dict.fromkeys(
            ("train_s", "step_s", "test_s", "images_per_s", "peak_memory_mb"), _MEASURED
        ),
    ),
}
