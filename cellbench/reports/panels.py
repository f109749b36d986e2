"""The paper's Figure 4: an image, its annotation, and what every method found in it."""

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

# As many methods as a page has room for.
MOST_METHODS = 6
IMAGES = 2


def stored_set(part: GridResults) -> StoredSet | None:
    """The set of some runs, if it is on disk in the revision that they were scored on."""
    if not is_on_disk(part.dataset):
        return None
    stored = open_set(part.dataset)
    revisions = {run.manifest_hash for runs in part.runs for run in runs}
    return stored if revisions == {stored.manifest_hash} else None


def panel_rows(
    part: GridResults, stored: StoredSet, image_ids: Sequence[str] | None = None
) -> tuple[list[list[tuple[Any, str]]], list[str]]:
    """The pictures of some images of one set.

    Args:
        part: what was measured.
        stored: the set on disk.
        image_ids: which images; by default the one with the median number of cells and the one
            on which the methods' errors are largest, of those that all scored.

    Returns:
        A row of pictures with captions an image, and the heads of the columns: image, annotation,
        and at most `MOST_METHODS` methods, the best ones where there are more.

    Raises:
        UserError: there is no such image.
    """
    order = sorted(
        range(len(part.cells)), key=lambda i: (part.rows[i].mae is None, part.rows[i].mae)
    )
    chosen = sorted(order[:MOST_METHODS])
    labels = part.labels()
    records = [_Points(part.runs[index]) for index in chosen]
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
    """The image with the median number of cells and the hardest one, of those that all scored."""
    errors = part.errors
    known = np.flatnonzero(np.isfinite(errors.absolute).all(axis=0))
    if not known.size:
        return []
    by_count = known[np.argsort(errors.truth[known], kind="stable")]
    hardest = known[int(np.argmax(errors.absolute[:, known].mean(axis=0)))]
    found = [int(by_count[len(by_count) // 2]), int(hardest)]
    return [errors.image_ids[index] for index in dict.fromkeys(found)][:IMAGES]


def f1_curves(part: GridResults) -> list[list[tuple[float, float]]]:
    """Of every cell the mean F1 of its runs by radius; empty where one of them has no points."""
    return [mean_f1_curve([parse_record(_path(run)) for run in runs]) for runs in part.runs]


def areas(stored: StoredSet) -> Mapping[str, float]:
    """The area of every image of a set in px."""
    return {e.id: float(e.size[0] * e.size[1]) for e in stored.manifest.entries}


class _Points:
    """The points of one cell, read when they are wanted."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = sorted(runs, key=lambda run: (run.split, run.seed))
        self.read: dict[str, Any] = {}

    def picture(self, image_id: str, pixels: Any, truth: Any) -> tuple[Any, str]:
        """The prediction of the first run that scored the image."""
        run = next(run for run in self.runs if image_id in run.image_ids)
        where = run.image_ids.index(image_id)
        caption = f"{run.prediction[where]:.1f} counted"
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
