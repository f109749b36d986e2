"""Count of one picture, and its row in the table."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cellbench.counting.count_rows import Counted
from cellbench.data.large import LargePicture, OpenedPicture
from cellbench.engine.work_progress import Advance
from cellbench.errors import UserError
from cellbench.files.limits import PICTURE
from cellbench.metrics.prediction_intervals import CountIntervals
from cellbench.structures import Prediction

if TYPE_CHECKING:
    from cellbench.counting.trained_counter import TrainedCounter


def count_picture(
    counter: "TrainedCounter", picture: OpenedPicture, name: str, scale: float, advance: Advance
) -> Prediction:
    """Count the cells of a picture.

    Args:
        counter: the method.
        picture: result of `open_picture`.
        name: for messages.
        scale: resampling factor, see `TrainedCounter.count`.
        advance: called with the number of px processed since the last call.

    Returns:
        Count and points, in px of the picture's full resolution.

    Raises:
        UserError: the picture is read in tiles, and the method's transforms need whole pictures.
    """
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    if isinstance(pixels, LargePicture) and counter.transforms:
        raise UserError(
            f"{name} has {width}x{height} px, which is read in tiles, and this method prepares "
            f"pictures as a whole; cut it into pieces, or {PICTURE.mend}."
        )
    step = pixels.downsample if isinstance(pixels, LargePicture) else 1.0
    area = width * height * step**2
    found = counter.count(
        pixels, scale=scale * step, name=name, progress=lambda share: advance(share * area)
    )
    if step == 1.0 or found.points is None:
        return found
    return replace(found, points=(found.points * step).astype(np.float32))


def line_of(
    name: str,
    sha256: str,
    picture: OpenedPicture,
    found: Prediction,
    um_per_px: float | None,
    intervals: CountIntervals | None,
) -> Counted:
    """Return the row of a picture in `counts.csv`.

    Args:
        name: name in the tables.
        sha256: hash of its file.
        picture: result of `open_picture`.
        found: its cells.
        um_per_px: edge of a pixel, micrometres; None for the value in the file, if any.
        intervals: prediction intervals of the method; None for none.
    """
    pixels = picture.pixels
    step = pixels.downsample if isinstance(pixels, LargePicture) else 1.0
    height, width = (round(edge * step) for edge in pixels.shape[:2])
    notes, size_um = list(picture.notes), picture.pixel_size_um
    edge = um_per_px
    if size_um is not None:
        stated = (size_um[0] * size_um[1]) ** 0.5
        if edge is None:
            edge = stated
        elif abs(edge / stated - 1) > 0.02:
            notes.append(f"its file states {stated:.4g} µm a pixel")
    per_mm2 = None if edge is None else found.count / (height * width * edge**2) * 1e6
    points = None if found.points is None else len(found.points)
    interval = None
    if intervals is not None:
        (low,), (high,) = intervals.of([found.count])
        interval = float(low), float(high)
    return Counted(
        name,
        found.count,
        per_mm2,
        (width, height),
        points,
        sha256,
        range=picture.range,
        um_per_px=edge,
        notes="; ".join(notes),
        interval=interval,
    )
