"""Evaluation of a counter on whole images: candidates, thresholds, count errors."""

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

# Batches as a loader yields them, each with the annotations of its images.
Labelled = Iterable[tuple[dict[str, Any], list[CellSample]]]


@dataclass(frozen=True, slots=True)
class Validation:
    """Error, thresholds and correction of counts of one validation.

    Attributes:
        mae: mean absolute error of the counts with the chosen thresholds; with a correction of
            counts, each image is corrected by what is fitted to the others.
        thresholds: chosen by the counter, by name.
        calibration: correction of counts; None for a method without, see
            `CellCounter.calibrates_count`.
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
    """Predict the candidates of every image; return them and the annotations, in the same order.

    Args:
        counter: run in evaluation mode; its mode is restored.
        images: whole images; the annotations never reach the counter.
        precision: "float32" or "bfloat16".
        fold: fold batch norms into the convolutions before them, in a copy for these images;
            predictions differ from those without by rounding.
        on_batch: receives the number of images of each finished batch.
    """
    training = counter.training
    counter.eval()
    candidates: list[Prediction] = []
    truth: list[CellSample] = []
    try:
        # Not inference_mode, in which autocast would cast all weights anew for every batch.
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
    """Choose thresholds and the correction of counts on images, and measure their count error."""
    candidates, truth = infer(counter, images, precision=precision, fold=fold, on_batch=on_batch)
    thresholds = counter.calibrate(ValidationSet(candidates, truth, radius_px))
    counts = np.array([counter.select(c).count for c in candidates], dtype=np.float64)
    annotated = np.array([sample.count for sample in truth], dtype=np.float64)
    mae = float(np.abs(counts - annotated).mean())
    calibration = calibrate_counts(counter, counts, truth)
    if calibration is not None and calibration.expected_mae is not None:
        mae = calibration.expected_mae
    return Validation(mae, dict(thresholds), calibration)


def calibrate_counts(
    counter: CellCounter, counts: NDArray[np.float64], truth: Sequence[CellSample]
) -> CountCalibration | None:
    """Estimate the correction of counts from validation images; None for a method without.

    Args:
        counter: that predicted the counts.
        counts: (N,); where one is not finite, the correction changes nothing.
        truth: annotations of the same images.
    """
    if not counter.calibrates_count:
        return None
    if not np.isfinite(counts).all():
        return CountCalibration()
    areas_px = [sample.size[0] * sample.size[1] for sample in truth]
    return choose_calibration([sample.count for sample in truth], counts, areas_px)
