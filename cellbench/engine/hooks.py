"""What happens around the steps of a training: rate, guard, average, selection, checkpoint."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from cellbench.config import ScheduleConfig
from cellbench.engine.average import WeightAverage
from cellbench.engine.checkpoints import BEST, save_checkpoint, save_weights
from cellbench.engine.evaluation import Validation
from cellbench.engine.interrupts import Interrupt
from cellbench.engine.optim import rate
from cellbench.engine.plan import Plan
from cellbench.engine.stages import Span, StageSwitch, span_at
from cellbench.errors import RunError
from cellbench.models.counter import CellCounter

# mmengine runs hooks in this order: the rate before a step; after it the guard, the average, the
# selection, then the checkpoint that holds what they did, then the display.
GUARD, AVERAGE, SELECTION, CHECKPOINT, DISPLAY = 20, 30, 40, 60, 80


@dataclass(slots=True)
class TrainingState:
    """What a run knows beside the weights; travels with the checkpoint.

    Attributes:
        curve: per validation: step, mean loss since the one before, validation MAE.
        best_step: after how many steps the kept weights were reached; 0 before the first.
        best_mae: validation MAE of the kept weights; None without validation.
        thresholds: chosen for the kept weights.
        loss_sum: of the steps since the last validation.
        loss_steps: how many these are.
        seconds: spent training and validating, over all starts of the run.
    """

    curve: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    best_mae: float | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    loss_sum: float = 0.0
    loss_steps: int = 0
    seconds: float = 0.0


class StageHook(Hook):
    """Leads a method through its stages; a pure function of the step and the plan."""

    priority = "VERY_HIGH"

    def __init__(
        self,
        cut: tuple[Span, ...],
        switch: StageSwitch,
        state: TrainingState,
        average: WeightAverage | None,
    ) -> None:
        """Remember whom to tell.

        Args:
            cut: the stages' steps.
            switch: of the method.
            state: its sums of the loss do not reach over stages.
            average: hands over what the next stage begins with, if there is one.
        """
        self.cut = cut
        self.switch = switch
        self.state = state
        self.average = average

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Tell the method its stage; at a stage's first step, give it what the last one left."""
        span = span_at(self.cut, runner.iter)
        self.switch.enter(span.stage)
        if 0 < runner.iter == span.first:
            self.state.loss_sum, self.state.loss_steps = 0.0, 0
            if self.average is not None:
                self.average.hand_over(self.switch.counter)
        self.switch.begin(span, runner.iter)


class RateHook(Hook):
    """Sets the learning rate of each step; a pure function of the step's place in its stage."""

    priority = "VERY_HIGH"

    def __init__(self, schedule: ScheduleConfig, cut: tuple[Span, ...]) -> None:
        self.schedule = schedule
        self.cut = cut

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Write the rate into the optimiser."""
        span = span_at(self.cut, runner.iter)
        share = rate(runner.iter - span.first, len(span), self.schedule)
        for group in runner.optim_wrapper.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share


class GuardHook(Hook):
    """Stops at a loss that is no number, before it reaches a checkpoint."""

    priority = GUARD

    def __init__(self, state: TrainingState) -> None:
        self.state = state

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Check and add up the loss.

        Raises:
            RunError: it is NaN or infinite.
        """
        loss = outputs["loss"].item()
        if not math.isfinite(loss):
            raise RunError(
                f"The loss was {loss} at step {runner.iter + 1}; the last good checkpoint is kept: "
                "lower optimizer.lr or set optimizer.clip_norm."
            )
        self.state.loss_sum += loss
        self.state.loss_steps += 1


class AverageHook(Hook):
    """Keeps the moving average of the weights."""

    priority = AVERAGE

    def __init__(self, average: WeightAverage, counter: CellCounter) -> None:
        self.average = average
        self.counter = counter

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Take in the step."""
        self.average.update(self.counter)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put the average into the checkpoint."""
        checkpoint["average"] = self.average.state_dict()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on from the checkpoint's average."""
        self.average.load_state_dict(checkpoint["average"])


class SelectionHook(Hook):
    """Validates on whole images and keeps the weights with the least MAE."""

    priority = SELECTION

    def __init__(
        self,
        *,
        plan: Plan,
        state: TrainingState,
        counter: CellCounter,
        average: WeightAverage | None,
        validate: Callable[[], Validation] | None,
        folder: Path,
    ) -> None:
        """Remember what to validate and where to keep it.

        Args:
            plan: says after which steps.
            state: is told.
            counter: the method.
            average: swapped in for validation, if there is one.
            validate: None keeps the weights of the last step.
            folder: of the run.
        """
        self.plan = plan
        self.state = state
        self.counter = counter
        self.average = average
        self.validate = validate
        self.folder = folder

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Validate where the plan says so."""
        step = runner.iter + 1
        if step not in self.plan.validate_after:
            return
        state = self.state
        point: dict[str, float] = {"step": step, "loss": state.loss_sum / max(1, state.loss_steps)}
        state.loss_sum, state.loss_steps = 0.0, 0
        swap = self.average.swapped_into(self.counter) if self.average else nullcontext()
        with swap:
            better = step == self.plan.iterations
            if self.validate is not None:
                found = self.validate()
                point["validation_mae"] = found.mae
                better = state.best_mae is None or found.mae < state.best_mae
                if better:
                    state.best_mae, state.thresholds = found.mae, found.thresholds
            if better:
                state.best_step = step
                save_weights(self.counter, self.folder / BEST)
        state.curve.append(point)
        runner.logger.info(" ".join(f"{key} {value:.6g}" for key, value in point.items()))


class CheckpointHook(Hook):
    """Keeps the run resumable: after each validation, at Ctrl-C, and every so often between.

    When it saves has no influence on what is computed.
    """

    priority = CHECKPOINT

    def __init__(
        self,
        *,
        plan: Plan,
        state: TrainingState,
        folder: Path,
        interrupt: Interrupt,
        writes: bool = True,
        every_s: float = 45.0,
    ) -> None:
        """Remember when and where to save.

        Args:
            plan: says when validations are.
            state: goes into the checkpoint.
            folder: of the run.
            interrupt: the user's wish to stop, met after the step.
            writes: False in all but the first of several processes.
            every_s: seconds between checkpoints.
        """
        self.plan = plan
        self.state = state
        self.folder = folder
        self.interrupt = interrupt
        self.writes = writes
        self.every_s = every_s
        self.saved_at = self.started_at = time.monotonic()
        self.seconds_before = 0.0

    def before_train(self, runner: Any) -> None:
        """Start the clock."""
        self.saved_at = self.started_at = time.monotonic()
        self.seconds_before = self.state.seconds

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save when it is due.

        Raises:
            KeyboardInterrupt: the user asked to stop, and the step is saved.
        """
        step = runner.iter + 1
        now = time.monotonic()
        self.state.seconds = self.seconds_before + now - self.started_at
        due = step in self.plan.validate_after or now - self.saved_at >= self.every_s
        if self.writes and (due or self.interrupt.asked):
            save_checkpoint(runner, self.folder, step)
            self.saved_at = time.monotonic()
        if self.interrupt.asked:
            raise KeyboardInterrupt

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put the state into the checkpoint."""
        checkpoint["training_state"] = asdict(self.state)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on from the checkpoint's state."""
        for key, value in checkpoint["training_state"].items():
            setattr(self.state, key, value)


class DisplayHook(Hook):
    """Tells the terminal how far the run is."""

    priority = DISPLAY

    def __init__(
        self, *, state: TrainingState, show: Callable[[int, float, float | None], None]
    ) -> None:
        """Remember whom to tell.

        Args:
            state: for the validation MAE.
            show: called with steps done, loss and the last validation MAE.
        """
        self.state = state
        self.show = show

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Report the step."""
        last = self.state.curve[-1].get("validation_mae") if self.state.curve else None
        self.show(runner.iter + 1, outputs["loss"].item(), last)
