"""Training loop: batches, update steps, validations, checkpoints."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cellbench.config.schema import OptimizerConfig
from cellbench.data.seeds import step_seed
from cellbench.engine.average import WeightAverage
from cellbench.engine.capture import Halves, capture
from cellbench.engine.checkpoints import (
    LAST,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)
from cellbench.engine.devices import ALONE, Processes, autocast
from cellbench.engine.interrupts import deferred_interrupt
from cellbench.engine.loss_watch import LossWatch
from cellbench.engine.optim import build_optimizer, rate
from cellbench.engine.schedule import Plan
from cellbench.engine.stages import enter_stage, learning_parameters, span_at, spans
from cellbench.engine.training_state import Training, TrainingState
from cellbench.engine.work_progress import Show
from cellbench.models.batch import Batch
from cellbench.models.counter import CellCounter, total_loss
from cellbench.records.run_files import WEIGHTS

# Seconds between checkpoints; the time at which one is written does not affect the results.
CHECKPOINT_EVERY_S = 45.0


def run_training(training: Training, plan: Plan, *, show: Show) -> TrainingState:
    """Train to the end of the plan, from the checkpoint in the folder if there is one.

    Batch and random numbers of a step depend on its number alone, so that a resumed run gives the
    results of an uninterrupted one.

    Returns:
        The state at the end; the kept weights are in the folder.

    Raises:
        RunError: the loss is not finite, or a checkpoint cannot be written.
        KeyboardInterrupt: the user asked to stop; the last step is saved.
    """
    counter, schedule, processes = training.counter, training.config.schedule, training.processes
    main = processes.rank == 0
    training.folder.mkdir(parents=True, exist_ok=True)
    log = partial(_log, training)
    log(f"training on {training.device}, {training.precision}")
    with deferred_interrupt() as interrupt:
        stages, learning = spans(counter.stages, plan.iterations), learning_parameters(counter)
        update = TrainingStep(
            counter, training.config.optimizer, device=training.device,
            precision=training.precision, processes=processes, log=log,
        )  # fmt: skip
        average = None if schedule.ema is None else WeightAverage(counter, schedule.ema)
        state = _resume(training, update, average)
        losses = LossWatch(state)
        began = saved = time.monotonic()
        seconds_before = state.seconds
        counter.train()
        batches = training.train.batches(
            state.step, plan.iterations, workers=training.workers,
            rank=processes.rank, world=processes.world,
        )  # fmt: skip
        stage = None
        for data in batches:
            # A stage starts from the averaged weights of the stage before it.
            span = span_at(stages, state.step)
            if span.stage is not stage:
                stage = span.stage
                enter_stage(stage, learning)
                update.forget_capture()
                if 0 < state.step == span.first:
                    losses.settle()
                    state.loss_sum, state.loss_steps = 0.0, 0
                    if average is not None:
                        average.hand_over()
            done, length = state.step - span.first, len(span)
            counter.begin_step(span.stage.name, done / length)

            # Rate, forward, matching, loss, backward, clipping, update of the weights.
            update.set_rate(rate(done, length, schedule))
            seed = step_seed(training.seed, training.split, state.step, processes.rank)
            loss = update(data, seed=seed)
            if average is not None:
                average.update()
            state.step += 1
            losses.add(state.step, loss)

            # The weights of the best validation are kept.
            due = state.step in plan.validate_after
            if due:
                losses.settle()
                if main:
                    _select(training, state, plan, average)
            state.seconds = seconds_before + time.monotonic() - began

            # No checkpoint is written after a loss that is not finite: pending ones are read first.
            due = due or time.monotonic() - saved >= CHECKPOINT_EVERY_S
            if main and (due or interrupt.asked):
                losses.settle()
                content = {
                    "counter": counter.state_dict(),
                    "optimizer": update.optimizer.state_dict(),
                    "average": None if average is None else average.state_dict(),
                    "state": asdict(state),
                }
                save_checkpoint(training.folder, content)
                saved = time.monotonic()
            if interrupt.asked:
                raise KeyboardInterrupt
            if main:
                last = state.curve[-1].get("validation_mae") if state.curve else None
                show(state.step, losses.last, last)
        losses.settle()
    return state


class TrainingStep:
    """Update step of the weights: forward, matching, loss, backward, clipping, optimiser.

    On a GPU the network of a counter that allows it (`CellCounter.captures`) is captured at its
    first step in each stage, and replayed. One of several processes computes eagerly.

    Attributes:
        optimizer: PyTorch's.
        captured: forward and backward pass of the captured network; None where steps are eager.
    """

    def __init__(
        self,
        counter: CellCounter,
        config: OptimizerConfig,
        *,
        device: torch.device,
        precision: str,
        processes: Processes = ALONE,
        eager: bool = False,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Build the optimiser.

        Args:
            counter: on its device, in training mode when the steps are made.
            config: options of the optimiser.
            device: of the counter.
            precision: "float32" or "bfloat16".
            processes: rank of this process and number of processes.
            eager: never capture.
            log: receives a sentence on whether steps are captured or eager.
        """
        self.counter = counter
        self.device = device
        self.precision = precision
        self.optimizer = build_optimizer(counter, config, device=device)
        self.max_norm = config.clip_norm
        self.log = log
        self._foreach = device.type in ("cpu", "cuda") or None  # one operator for all tensors
        self.captured: Halves | None = None
        alone = processes.world == 1
        self._captures = not eager and counter.captures and device.type == "cuda" and alone
        self._capture_next = self._captures
        self._parallel = None if alone else _data_parallel(counter)

    def __call__(self, data: Mapping[str, Any], *, seed: int) -> Tensor:
        """Update the weights by one batch.

        Args:
            data: of `TrainingSet.batch`.
            seed: of the network's random numbers (dropout, noise).

        Returns:
            The loss, () and detached, on the device, without waiting for it.
        """
        with autocast(self.device, self.precision):
            batch: Batch = self.counter.data_preprocessor(dict(data), True)["batch"]
        if self._capture_next:
            self._capture_next = False
            self.captured = capture(
                self.counter, batch, precision=self.precision, seed=seed, log=self.log
            )
        torch.manual_seed(seed)
        if self.captured is not None and self.captured.fits(batch):
            outputs = self.captured.forward(batch.images.pixels)
            with autocast(self.device, self.precision):
                loss = total_loss(self.counter.terms(outputs, batch))
            loss.backward()
            self.captured.backward(outputs)
        else:
            with autocast(self.device, self.precision):
                if self._parallel is None:
                    loss = total_loss(self.counter.loss(batch))
                else:
                    loss = total_loss(self._parallel(batch=batch, mode="loss"))
            loss.backward()
        if self.max_norm:
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            parameters = [p for p in parameters if p.grad is not None]
            nn.utils.clip_grad_norm_(parameters, self.max_norm, foreach=self._foreach)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def set_rate(self, share: float) -> None:
        """Set every group's learning rate to a share of its peak."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share

    def forget_capture(self) -> None:
        """Discard the capture: the next step captures anew, since other parameters are trained."""
        self.captured, self._capture_next = None, self._captures


def finish_fit(training: Training, started: float) -> TrainingState:
    """Validate and save a method that its `fit` has trained, and return the state of the run.

    Args:
        training: its counter's `fit` returned True.
        started: monotonic seconds.
    """
    state = TrainingState()
    if training.validation is not None:
        validation = training.validate()
        state.keep_choices(validation)
        state.best_mae = validation.mae
    if training.processes.rank == 0:
        save_weights(training.counter, training.folder / WEIGHTS)
    state.seconds = time.monotonic() - started
    return state


def _select(
    training: Training,
    state: TrainingState,
    plan: Plan,
    average: WeightAverage | None,
) -> None:
    """Validate on whole images and keep the weights if they are the best so far.

    Without validation the weights of the last step are kept.
    """
    counter = training.counter
    point: dict[str, float] = {
        "step": state.step,
        "loss": state.loss_sum / max(1, state.loss_steps),
    }
    state.loss_sum, state.loss_steps = 0.0, 0
    with average.swapped_in() if average else nullcontext():
        better = state.step == plan.iterations
        if training.validation is not None:
            validation = training.validate()
            # Early averages of batch norms may give infinite counts: any finite error is better.
            finite = math.isfinite(validation.mae)
            if finite:
                point["validation_mae"] = validation.mae
            better = state.best_mae is None or (finite and not state.best_mae <= validation.mae)
            if better:
                state.keep_choices(validation)
                state.best_mae = validation.mae
        if better:
            state.best_step = state.step
            save_weights(counter, training.folder / WEIGHTS)
    state.curve.append(point)
    _log(training, " ".join(f"{key} {value:.6g}" for key, value in point.items()))


def _resume(
    training: Training, update: TrainingStep, average: WeightAverage | None
) -> TrainingState:
    """Load the checkpoint in the folder and return its state; without one, a fresh state."""
    file = training.folder / LAST
    if not file.is_file():
        return TrainingState()
    content = load_checkpoint(file, training.device)
    training.counter.load_state_dict(content["counter"])
    update.optimizer.load_state_dict(content["optimizer"])
    if average is not None:
        average.load_state_dict(content["average"])
    return TrainingState(**content["state"])


def _data_parallel(counter: CellCounter) -> nn.Module:
    """Wrap the counter so that gradients are averaged over the processes of torchrun."""
    unused = bool(counter.untrained) or len(counter.stages) > 1
    # No backend sends 16-bit integers: buffers of a module that has some (a memory) stay local.
    local_buffers = [
        name
        for path, module in counter.named_modules()
        if any(buffer.dtype == torch.int16 for buffer in module.buffers(recurse=False))
        for name, _ in module.named_buffers(path, recurse=False)
    ]
    kind = nn.parallel.DistributedDataParallel
    kind._set_params_and_buffers_to_ignore_for_model(counter, local_buffers)
    return kind(counter, find_unused_parameters=unused)


def _log(training: Training, text: str) -> None:
    """Append a line to the log, which all starts of a run share."""
    name = "log.txt" if training.processes.rank == 0 else "log-rank.txt"
    with (training.folder / name).open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
