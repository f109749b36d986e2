"""Inputs of a training, and its state."""

from dataclasses import dataclass, field
from operator import length_hint
from pathlib import Path
from typing import Any

import torch

from cellbench.config.schema import ResolvedConfig
from cellbench.data.training_set import TrainingSet
from cellbench.engine.devices import Processes
from cellbench.engine.evaluation import Labelled, Validation, validate
from cellbench.engine.work_progress import Task, silent_task
from cellbench.metrics.calibration import CountCalibration
from cellbench.models.counter import CellCounter


@dataclass(slots=True)
class Training:
    """Inputs of a training: counter, config, images, device.

    Attributes:
        counter: the method, on its device.
        config: resolved.
        train: source of batches.
        validation: whole images; None where the protocol has none.
        seed: of the run.
        split: of the run.
        device: where it runs.
        precision: "float32" or "bfloat16".
        processes: rank of this process and number of processes.
        workers: loader processes.
        folder: of the run.
        task: shows the progress of a validation.
        fold: see `cellbench.engine.evaluation.infer`.
    """

    counter: CellCounter
    config: ResolvedConfig
    train: TrainingSet
    validation: Labelled | None
    seed: int
    split: int
    device: torch.device
    precision: str
    processes: Processes
    workers: int
    folder: Path
    task: Task = silent_task
    fold: bool = True

    def validate(self) -> Validation:
        """Choose thresholds on the validation images and measure the error of the counts.

        Raises:
            ValueError: there are no validation images.
        """
        if self.validation is None:
            raise ValueError("this training has no validation images")
        with self.task("validation", length_hint(self.validation)) as advance:
            return validate(
                self.counter,
                self.validation,
                radius_px=self.config.data.radius_px,
                precision=self.precision,
                fold=self.fold,
                on_batch=advance,
            )


@dataclass(slots=True)
class TrainingState:
    """State of a run beside its weights, saved in the checkpoint.

    Attributes:
        step: steps done.
        curve: per validation: step, mean loss since the previous one, validation MAE.
        best_step: number of steps of the kept weights; 0 before the first.
        best_mae: validation MAE of the kept weights; None without validation.
        thresholds: chosen for the kept weights.
        calibration: of their counts, as a record has it; None where there is none.
        loss_sum: of the steps since the last validation.
        loss_steps: number of these steps.
        seconds: spent training and validating, over all starts of the run.
    """

    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    best_mae: float | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    calibration: dict[str, Any] | None = None
    loss_sum: float = 0.0
    loss_steps: int = 0
    seconds: float = 0.0

    def keep_choices(self, found: Validation) -> None:
        """Store thresholds and correction of a validation for the kept weights, not its error."""
        self.thresholds = found.thresholds
        self.calibration = None if found.calibration is None else found.calibration.plain()

    @property
    def corrections(self) -> CountCalibration | None:
        """Correction of counts; None where there is none."""
        return None if self.calibration is None else CountCalibration.of(self.calibration)
