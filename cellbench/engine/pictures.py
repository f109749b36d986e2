"""Pictures of the worst and the median test images, with predictions and annotations."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cellbench.data.stored_set import StoredSet
from cellbench.drawing import density_overlay, overlay
from cellbench.files.writing import write_atomically
from cellbench.metrics.localisation import match_points
from cellbench.structures import CellSample, Prediction


def draw_pictures(
    folder: Path,
    stored: StoredSet,
    truth: Sequence[CellSample],
    predictions: Sequence[Prediction],
    *,
    radius_px: float,
    worst: int = 3,
    median: int = 3,
) -> list[Path]:
    """Draw the test images with the largest and the middle count errors.

    Args:
        folder: created if missing.
        stored: source of the pixels.
        truth: annotations.
        predictions: in the same order.
        radius_px: of a match, px of the original image.
        worst: number of images with the largest errors.
        median: number of images around the median error.

    Returns:
        The files written.

    Raises:
        UserError: the disk is full or not writable; pictures written before are complete.
    """
    errors = [abs(p.count - t.count) for p, t in zip(predictions, truth, strict=True)]
    order = sorted(range(len(errors)), key=lambda row: (-errors[row], truth[row].image_id))
    middle = max(0, len(order) // 2 - median // 2)
    files = []
    for kind, rows in (("worst", order[:worst]), ("median", order[middle : middle + median])):
        for place, row in enumerate(rows, start=1):
            sample, prediction = truth[row], predictions[row]
            picture = _picture(stored.pixels(sample.image_id), sample, prediction, radius_px)
            file = folder / f"{kind}-{place}-{sample.image_id}.png"
            stream = io.BytesIO()
            picture.save(stream, "PNG")
            write_atomically(file, stream.getvalue(), elsewhere="--store")
            files.append(file)
    return files


def _picture(
    pixels: NDArray[np.uint8], sample: CellSample, prediction: Prediction, radius_px: float
) -> Image.Image:
    caption = f"{prediction.count:.1f} predicted, {sample.count} annotated: {sample.image_id}"
    if prediction.points is not None:
        matches = match_points(prediction.points, sample.points, radius_px)
        return overlay(
            pixels,
            truth=sample.points,
            predicted=prediction.points,
            matches=matches,
            caption=caption,
        )
    if prediction.density is not None:
        return density_overlay(pixels, prediction.density, caption=caption)
    return overlay(pixels, truth=sample.points, caption=caption)
