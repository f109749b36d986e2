"""How far off a trained method may be expected to be, as its record and its folder say."""

from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from cellbench.data.splits import EVERYTHING, holds_out
from cellbench.files.reading import read_json

RECOMMENDATION = "recommendation.json"
"""Beside the weights of a run that `cellbench recommend` trained on all pictures of a set."""


def cross_validated_error(folder: Path) -> tuple[float, float | None, float | None] | None:
    """The error of the recommended method over the folds, with its interval.

    Args:
        folder: of the run.

    Returns:
        Mean absolute error and the ends of its interval, None where it has none; None for a
        folder without a sound recommendation.
    """
    try:
        document = read_json(folder / RECOMMENDATION)
        (error,) = (one["error"] for one in document["results"] if one["state"] == "recommended")
        ends = [None if error[key] is None else float(error[key]) for key in ("low", "high")]
        return float(error["mae"]), ends[0], ends[1]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def held_out_counts(record: Mapping[str, Any], folder: Path) -> tuple[list[float], list[float]]:
    """Annotated and predicted counts of pictures that a method was not trained on.

    Args:
        record: of the run: its test part, or of a method that was trained on everything the
            pictures of the folds that recommended it.
        folder: that holds its weights.

    Returns:
        Annotated counts and predicted ones; empty where there are none.
    """
    images: list[Mapping[str, Any]] = []
    if holds_out(record["protocol"]):
        images = record["images"]
    elif record["protocol"] == EVERYTHING:
        with suppress(OSError, ValueError, KeyError, TypeError):
            images = read_json(folder / RECOMMENDATION)["residuals"]
    with suppress(ValueError, KeyError, TypeError):
        truth = [float(image["truth"]) for image in images]
        counts = [float(image["prediction"]) for image in images]
        if all(map(isfinite, [*truth, *counts])):
            return truth, counts
    return [], []
