"""Expected counting error of a trained method, from its record and its folder."""

from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from cellbench.data.splits import EVERYTHING, holds_out
from cellbench.files.reading import read_json
from cellbench.files.writing import write_atomically

RECOMMENDATION = "recommendation.json"
"""File beside the weights of a run that `cellbench recommend` trained on all images of a set."""


def cross_validated_error(folder: Path) -> tuple[float, float | None, float | None] | None:
    """Read the MAE of the recommended method over the folds, with its interval.

    Args:
        folder: folder of the run.

    Returns:
        MAE and the ends of its interval, which may be None; None for a folder without a valid
        recommendation.
    """
    try:
        document = read_json(folder / RECOMMENDATION)
        (error,) = (one["error"] for one in document["results"] if one["state"] == "recommended")
        ends = [None if error[key] is None else float(error[key]) for key in ("low", "high")]
        return float(error["mae"]), ends[0], ends[1]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def copy_recommendation(run: Path, folder: Path) -> None:
    """Copy the recommendation in the folder of a run, if there is one; one in its place goes.

    Args:
        run: folder of the run.
        folder: receives the file.
    """
    (folder / RECOMMENDATION).unlink(missing_ok=True)
    if (file := run / RECOMMENDATION).is_file():
        write_atomically(folder / RECOMMENDATION, file.read_bytes())


def held_out_counts(record: Mapping[str, Any], folder: Path) -> tuple[list[float], list[float]]:
    """Read annotated and predicted counts of images that a method was not trained on.

    These are the test part of the record, or, for a method trained on all images, those of the
    cross-validation that recommended it.

    Args:
        record: record of the run.
        folder: folder of its weights.

    Returns:
        Annotated and predicted counts; empty if there are none.
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
