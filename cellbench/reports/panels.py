"""Panels like the paper's Figure 4: an image, its annotation, and every method's prediction."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cellbench.data.stored_set import StoredSet, is_on_disk, open_set
from cellbench.drawing import overlay
from cellbench.errors import UserError
from cellbench.metrics.localisation import match_points
from cellbench.records.point_lists import read_points
from cellbench.records.record_file import parse_record, read_record
from cellbench.records.summaries import Run
from cellbench.reports.f1_curves import mean_f1_curve
from cellbench.reports.grid_results import GridResults

# Most methods in a panel, which has to fit a page.
MOST_METHODS = 6
IMAGES = 2


def stored_set(part: GridResults) -> StoredSet | None:
    """Open the dataset of a grid's runs; None unless it is on disk in their revision."""
    if not is_on_disk(part.dataset):
        return None
    stored = open_set(part.dataset)
    revisions = {run.manifest_hash for runs in part.runs for run in runs}
    return stored if revisions == {stored.manifest_hash} else None


def panel_rows(
    part: GridResults, stored: StoredSet, image_ids: Sequence[str] | None = None
) -> tuple[list[list[tuple[Any, str]]], list[str]]:
    """Draw the panel of some images of one dataset.

    Args:
        part: results on the dataset.
        stored: the dataset on disk.
        image_ids: image ids; None for those of `choose_images`.

    Returns:
        Per image a row of pictures with captions, and the titles of the columns: image,
        annotation, and at most `MOST_METHODS` methods, the best ones.

    Raises:
        UserError: there is no such image.
    """
    order = sorted(
        range(len(part.cells)), key=lambda i: (part.rows[i].mae is None, part.rows[i].mae)
    )
    chosen = sorted(order[:MOST_METHODS])
    labels = part.labels()
    records = [_CellPoints(part.runs[index]) for index in chosen]
    rows = []
    for image_id in image_ids if image_ids is not None else choose_images(part):
        sample, pixels = stored.sample(image_id), stored.pixels(image_id)
        truth = overlay(pixels, truth=sample.points, legend=False)
        row: list[tuple[Any, str]] = [
            (pixels, image_id),
            (np.asarray(truth), f"{sample.count} annotated"),
        ]
        row += [record.picture(image_id, pixels, sample.points) for record in records]
        rows.append(row)
    return rows, ["image", "annotation", *(labels[index] for index in chosen)]


def choose_images(part: GridResults) -> list[str]:
    """Choose the images of median count and largest mean error among those that all scored."""
    errors = part.errors
    scored = np.flatnonzero(np.isfinite(errors.absolute).all(axis=0))
    if not scored.size:
        return []
    by_count = scored[np.argsort(errors.truth[scored], kind="stable")]
    hardest = scored[int(np.argmax(errors.absolute[:, scored].mean(axis=0)))]
    found = [int(by_count[len(by_count) // 2]), int(hardest)]
    return [errors.image_ids[index] for index in dict.fromkeys(found)][:IMAGES]


def f1_curves(part: GridResults) -> list[list[tuple[float, float]]]:
    """Return the mean F1 by radius for every cell; empty if one of its runs has no points."""
    return [mean_f1_curve([parse_record(_path(run)) for run in runs]) for runs in part.runs]


def areas(stored: StoredSet) -> Mapping[str, float]:
    """Return the area of every image of a dataset in px², by image id."""
    return {e.id: float(e.size[0] * e.size[1]) for e in stored.manifest.entries}


class _CellPoints:
    """Predicted points of one cell, read from its records when needed."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = sorted(runs, key=lambda run: (run.split, run.seed))
        self.read: dict[str, Any] = {}

    def picture(self, image_id: str, pixels: Any, truth: Any) -> tuple[Any, str]:
        """Draw the prediction of the first run that scored the image; return it with a caption."""
        run = next(run for run in self.runs if image_id in run.image_ids)
        index = run.image_ids.index(image_id)
        caption = f"{run.prediction[index]:.1f} counted"
        if run.run_id not in self.read:
            record = read_record(_path(run))
            radius = record["metrics"].get("radius_px")
            self.read[run.run_id] = read_points(_path(run), record), radius
        lists, radius = self.read[run.run_id]
        if image_id not in lists:
            return pixels, f"{caption}, no points"
        points, _ = lists[image_id]
        matches = match_points(points, truth, radius)
        drawn = overlay(pixels, truth=truth, predicted=points, matches=matches, legend=False)
        return np.asarray(drawn), caption


def _path(run: Run) -> Path:
    if run.path is None:
        raise UserError(f"The record {run.file} of {run.dataset} is not on disk any more.")
    return run.path
