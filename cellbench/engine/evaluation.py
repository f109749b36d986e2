"""Whole images through a counter: candidates, thresholds, errors."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellbench.engine.devices import autocast
from cellbench.metrics.calibration import CountCalibration, choose_calibration
from cellbench.models.counter import CellCounter, ValidationSet
from cellbench.models.folding import fold_batch_norms
from cellbench.structures import CellSample, Prediction

# Pairs of what a loader yields for a batch and the annotations of its images.
Labelled = Iterable[tuple[dict[str, Any], list[CellSample]]]


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of one validation.

    Attributes:
        mae: mean absolute error of the counts with the chosen thresholds; of corrected counts each
            image by what the others give.
        thresholds: what the counter chose, by name.
        calibration: of the count; None where there is none, see `CellCounter.calibrates_count`.
    """

    mae: float
    thresholds: dict[str, float]
    calibration: CountCalibration | None = None


def infer(
    counter: CellCounter,
    images: Labelled,
    *,
    precision: str,
    fold: bool = True,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[list[Prediction], list[CellSample]]:
    """Every candidate in every image, and the annotations in the same order.

    Args:
        counter: put into evaluation mode and left in the mode it was in.
        images: whole images; the annotations never reach the counter.
        precision: "float32" or "bfloat16".
        fold: batch norms into the convolutions before them, in a copy for these images; answers
            differ from those without by rounding.
        on_batch: told the number of images of each batch that is done.
    """
    training = counter.training
    counter.eval()
    candidates: list[Prediction] = []
    truth: list[CellSample] = []
    try:
        # Not in inference mode, where autocast would cast all weights anew for every batch.
        with torch.no_grad(), autocast(counter.device, precision):
            counter.begin_inference()
            network = fold_batch_norms(counter) if fold else counter
            for data, samples in images:
                candidates += network.infer(network.data_preprocessor(data)["images"])
                truth += samples
                if on_batch is not None:
                    on_batch(len(samples))
    finally:
        counter.train(training)
    return candidates, truth


def validate(
    counter: CellCounter,
    images: Labelled,
    *,
    radius_px: float,
    precision: str,
    fold: bool = True,
    on_batch: Callable[[int], None] | None = None,
) -> Validation:
    """Choose thresholds and the correction of counts on these images, and measure their error."""
    candidates, truth = infer(counter, images, precision=precision, fold=fold, on_batch=on_batch)
    thresholds = counter.calibrate(ValidationSet(candidates, truth, radius_px))
    counts = np.array([counter.select(c).count for c in candidates], dtype=np.float64)
    wanted = np.array([sample.count for sample in truth], dtype=np.float64)
    mae = float(np.abs(counts - wanted).mean())
    calibration = calibrate_counts(counter, counts, truth)
    if calibration is not None and calibration.expected_mae is not None:
        mae = calibration.expected_mae
    return Validation(mae, dict(thresholds), calibration)


def calibrate_counts(
    counter: CellCounter, counts: NDArray[np.float64], truth: Sequence[CellSample]
) -> CountCalibration | None:
    """The correction of the counts of validation images; None for a method that has none.

    Args:
        counter: whose counts they are.
        counts: (N,); where one is no number, they are left as they are.
        truth: the annotations of the same images.
    """
    if not counter.calibrates_count:
        return None
    if not np.isfinite(counts).all():
        return CountCalibration()
    areas_px = [sample.size[0] * sample.size[1] for sample in truth]
    return choose_calibration([sample.count for sample in truth], counts, areas_px)
