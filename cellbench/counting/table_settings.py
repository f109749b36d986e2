"""Comparison of the settings of existing tables of counts with those of a new count."""

import json
from collections.abc import Mapping
from typing import Any

# Path of a setting in `method.json`, and the option that sets it.
_OPTIONS = {
    ("scale",): "--scale",
    ("um_per_px",): "--um-per-px",
    ("reading", "planes", "channel"): "--channel",
    ("reading", "planes", "page"): "--page",
    ("reading", "planes", "project"): "--project",
    ("reading", "range"): "--range",
    ("reading", "invert"): "--invert",
}
_MOST_CHARACTERS = 60


def known_settings(text: str) -> dict[str, Any]:
    """Parse the settings in the text of a `method.json`; empty if it is invalid."""
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) and "run_id" in document else {}


def differing_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the settings that differ, with both values.

    Args:
        before: settings of the tables, see `known_settings`.
        now: settings of the new count.

    Returns:
        A phrase per setting; empty if none differs that has an option.
    """
    found = []
    if before.get("run_id") != now.get("run_id"):
        found.append(f"--with was {_run(before)} and is {_run(now)}")
    for path, option in _OPTIONS.items():
        old, new = (_at(_as_named(settings), path) for settings in (before, now))
        if old != new:
            found.append(f"{option} was {_value(old)} and is {_value(new)}")
    if before.get("trusted_weights") != now.get("trusted_weights"):
        found.append("--trust-weights was given with other weights, or not at all")
    return found


def _as_named(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings with the planes as the user gave them, if stacks were unpacked."""
    reading, stacks = settings.get("reading"), settings.get("stacks")
    if not isinstance(reading, Mapping) or stacks is None:
        return settings
    return {**settings, "reading": {**reading, "planes": stacks}}


def _at(settings: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return settings


def _run(settings: Mapping[str, Any]) -> str:
    names = (str(settings.get(key))[:16] for key in ("method", "dataset", "run_id"))
    return _printable("{} of {} ({})".format(*names))


def _value(value: Any) -> str:
    if value is None or value is False:
        return "not given"
    if value is True:
        return "given"
    if isinstance(value, list):
        return " ".join(map(_value, value))[:_MOST_CHARACTERS]
    return _printable(f"{value:g}" if isinstance(value, float) else str(value))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:_MOST_CHARACTERS]
