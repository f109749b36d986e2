"""Scoring of the test part, once a run, and the record of the run."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np

from cellbench.data.appearance import training_summary
from cellbench.data.splits import find_protocol
from cellbench.data.stored_set import StoredSet
from cellbench.engine import record
from cellbench.engine.assembly import Prepared, starting_weights, whole_images
from cellbench.engine.evaluation import Labelled, calibrate_counts, infer
from cellbench.engine.released import ReleasedProtocolCrops
from cellbench.engine.training_state import Training, TrainingState
from cellbench.engine.work_progress import Task, silent_task
from cellbench.errors import UserError
from cellbench.experiment import Experiment
from cellbench.files.writing import sha256_file
from cellbench.metrics.calibration import CountCalibration
from cellbench.metrics.scores import Scores, score
from cellbench.records import record_file
from cellbench.records.point_lists import PointLists
from cellbench.records.run_files import WEIGHTS
from cellbench.structures import CellSample, Prediction


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions and scores of the test part.

    Attributes:
        truth: annotations of the images, in order.
        predictions: one per image, with corrected counts.
        scores: per image and over all.
        images: inputs of the counter with the annotations.
        seconds: from the first image to the last prediction.
    """

    truth: list[CellSample]
    predictions: list[Prediction]
    scores: Scores
    images: Labelled
    seconds: float

    @property
    def points(self) -> PointLists | None:
        """Predicted points and scores by image id; None for a method without points."""
        lists = {
            sample.image_id: (prediction.points, prediction.scores)
            for sample, prediction in zip(self.truth, self.predictions, strict=True)
            if prediction.points is not None
        }
        return lists if len(lists) == len(self.truth) else None


def score_test(
    prepared: Prepared,
    training: Training,
    calibration: CountCalibration | None,
    *,
    task: Task = silent_task,
) -> Scored:
    """Predict the test part with the training's counter, and score the predictions.

    Args:
        prepared: gives the test part and the device.
        training: its counter is scored.
        calibration: correction of its counts; None where there is none.
        task: shows the progress over the images.
    """
    counter = training.counter
    began = time.monotonic()
    images: Labelled
    if prepared.experiment.protocol == "released":
        images = ReleasedProtocolCrops(training.train)
    else:
        images = whole_images(prepared, prepared.split.test)
    with task("scoring", length_hint(images)) as advance:
        candidates, truth = infer(
            counter, images, precision=prepared.precision, fold=prepared.fold, on_batch=advance
        )
    counted = [counter.select(candidate) for candidate in candidates]
    predictions = counted
    if calibration is not None:
        predictions = [
            calibration.correct_prediction(prediction, sample.size)
            for prediction, sample in zip(counted, truth, strict=True)
        ]
    seconds = time.monotonic() - began
    scores = score(
        truth,
        predictions,
        radius_px=prepared.experiment.config.data.radius_px,
        candidates=candidates,
        raw=[prediction.count for prediction in counted] if calibration is not None else None,
    )
    return Scored(truth, predictions, scores, images, seconds)


def find_calibration(prepared: Prepared, training: Training) -> CountCalibration | None:
    """Estimate the correction of counts on the images that a run uses for it; thresholds stay.

    Args:
        prepared: gives the training part, used where the protocol has no validation part.
        training: its counter predicts the counts.
    """
    images = training.validation
    if images is None:
        images = whole_images(prepared, prepared.split.train)
    candidates, truth = infer(
        training.counter, images, precision=prepared.precision, fold=prepared.fold
    )
    counts = np.array([training.counter.select(candidate).count for candidate in candidates])
    return calibrate_counts(training.counter, counts, truth)


def write_result(
    prepared: Prepared,
    training: Training,
    state: TrainingState,
    experiment: Experiment,
    scored: Scored,
) -> Path:
    """Write the run's record and return its path."""
    config, counter = experiment.config, training.counter
    whole = config.whole_epochs
    # Read before the GFLOPs are counted, whose float32 prediction the run itself does not need.
    peak_memory_mb = record.peak_memory_mb(prepared.device)
    content = {
        "run_id": experiment.id,
        "method": config.method.name,
        "method_title": config.method.title,
        "config": config.plain(),
        "config_hash": config.hash,
        "recipe": config.recipe,
        "plugins": record.plugins_of(config.plain()),
        "dataset": config.data.set,
        "simulated": config.data.set.endswith("-sim"),
        "manifest_hash": experiment.manifest_hash,
        "protocol": experiment.protocol,
        "split": experiment.split,
        "seed": experiment.seed,
        "iterations": experiment.iterations,
        "epochs": round(experiment.iterations / training.train.steps_per_epoch, 3),
        **({} if whole is None else {"whole_epochs": whole}),
        "weights": starting_weights(counter),
        "scored_weights": {"sha256": sha256_file(training.folder / WEIGHTS)},
        "selection": {
            "rule": _selection_rule(experiment.protocol),
            "step": state.best_step,
            "validation_mae": state.best_mae,
        },
        "thresholds": state.thresholds,
        # Left out where there is none, so that records of methods with thresholds do not change.
        **({} if state.calibration is None else {"calibration": state.calibration}),
        "parameters": record.parameter_count(counter),
        "gflops": record.gflops(counter, next(iter(scored.images))[0]),
        "images": scored.scores.images,
        **recorded_groups(prepared.stored, scored.scores.images),
        "metrics": scored.scores.metrics,
        "curve": state.curve,
        "training_pictures": training_summary(prepared.stored, training.train.ids),
        "timing": {
            "train_s": round(state.seconds, 2),
            "step_s": round(state.seconds / experiment.iterations, 4),
            "test_s": round(scored.seconds, 3),
            "images_per_s": round(len(scored.truth) / scored.seconds, 3),
            "peak_memory_mb": peak_memory_mb,
        },
        "environment": record.environment(
            prepared.device, prepared.precision, prepared.processes, fold=prepared.fold
        ),
    }
    return record_file.write_record(prepared.store, content, points=scored.points)


def recorded_groups(
    stored: StoredSet, images: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, str]]:
    """Return the `groups` entry of a record for a user's own images; empty without groups.

    The groups of published sets follow from the image ids.
    """
    if stored.manifest.own is None:
        return {}
    groups = {image["id"]: stored.group(image["id"]) for image in images}
    found = {image_id: group for image_id, group in groups.items() if group is not None}
    return {"groups": found} if found else {}


def draw(
    prepared: Prepared, training: Training, scored: Scored, say: Callable[[str], None]
) -> list[Path]:
    """Draw the worst and the median test images; none for a protocol that scores crops.

    If they cannot be written, the record still is, and `say` receives the reason.
    """
    from cellbench.engine.pictures import draw_pictures

    if prepared.experiment.protocol == "released":
        return []
    try:
        return draw_pictures(
            training.folder / "pictures",
            prepared.stored,
            scored.truth,
            scored.predictions,
            radius_px=prepared.experiment.config.data.radius_px,
        )
    except UserError as error:
        say(f"The pictures are left out. {error}")
        return []


def _selection_rule(protocol: str) -> str:
    """Return what weights and thresholds are chosen on under a protocol, as tables show it."""
    facts = find_protocol(protocol)
    if not facts.held_out:
        return "train crops"
    return "val" if facts.has_validation else "last"
