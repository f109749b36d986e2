"""One training, assembled on mmengine's Runner."""

import operator
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cellbench.config import ResolvedConfig
from cellbench.data.training_set import TrainingSet
from cellbench.engine import compat
from cellbench.engine.average import WeightAverage
from cellbench.engine.checkpoints import BEST, LAST, save_weights
from cellbench.engine.devices import Processes
from cellbench.engine.evaluation import Labelled, Validation, validate
from cellbench.engine.hooks import (
    AverageHook,
    CheckpointHook,
    DisplayHook,
    GuardHook,
    RateHook,
    SelectionHook,
    StageHook,
    TrainingState,
)
from cellbench.engine.interrupts import Interrupt, deferred_interrupt
from cellbench.engine.loop import StepLoop, Stream
from cellbench.engine.optim import PrecisionOptimWrapper, build_optimizer
from cellbench.engine.plan import Measured, Plan, median
from cellbench.engine.stages import Span, StageSwitch, spans
from cellbench.models.counter import CellCounter

# mmengine's own hooks, all left out: what they do is done here without state of its own.
DEFAULT_HOOKS = (
    "runtime_info",
    "timer",
    "sampler_seed",
    "logger",
    "param_scheduler",
    "checkpoint",
)

Show = Callable[[int, float, float | None], None]


@dataclass(slots=True)
class Training:
    """All that a training needs.

    Attributes:
        counter: the method, on its device.
        config: resolved.
        train: source of batches.
        validation: whole images; None where the protocol has none.
        seed: of the run.
        split: of the run.
        device: where it runs.
        precision: "float32" or "bfloat16".
        processes: place among those of torchrun.
        workers: loader processes.
        folder: of the run.
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

    def optimizer(self) -> PrecisionOptimWrapper:
        """A fresh optimiser of the counter."""
        return build_optimizer(
            self.counter, self.config.optimizer, device=self.device, precision=self.precision
        )


def run_training(training: Training, plan: Plan, *, show: Show) -> TrainingState:
    """Train to the end of the plan, from the checkpoint in the folder if there is one.

    Returns:
        The state at the end; the kept weights are in the folder.

    Raises:
        RunError: the loss is no number, or a checkpoint cannot be written.
        KeyboardInterrupt: the user asked to stop; the last step is saved.
    """
    state = TrainingState()
    compat.trust_own_checkpoints()
    name = f"cellbench-{training.folder.name}-{training.processes.rank}-{time.monotonic_ns()}"
    log = training.folder / ("log.txt" if training.processes.main else "log-rank.txt")
    with compat.device_for_mmengine(training.device), deferred_interrupt() as interrupt:
        runner = compat.make_runner(
            log,
            model=_for_processes(training),
            work_dir=str(training.folder / "mmengine"),
            train_dataloader=Stream(training.train),
            train_cfg={
                "type": StepLoop,
                "plan": plan,
                "seed": training.seed,
                "split": training.split,
                "workers": training.workers,
                "processes": training.processes,
            },
            optim_wrapper=training.optimizer(),
            default_hooks=dict.fromkeys(DEFAULT_HOOKS),
            custom_hooks=_hooks(training, plan, state, show, interrupt),
            visualizer={"type": "Visualizer"},
            randomness={"seed": training.seed},
            experiment_name=name,
            default_scope="mmengine",
        )
        try:
            last = training.folder / LAST
            if last.is_file():
                runner._resume, runner._load_from = True, str(last)
            runner.train()
        finally:
            compat.close_runner(runner)
    return state


def fit(training: Training) -> TrainingState | None:
    """Let a method that is not trained by steps train itself.

    Returns:
        The state at the end, with the weights in the folder; None for a method of steps.
    """
    started = time.monotonic()
    counter = training.counter
    if not counter.fit(training.train, training.validation):
        return None
    state = TrainingState()
    if training.validation is not None:
        found = _validation(training)()
        state.best_mae, state.thresholds = found.mae, found.thresholds
    if training.processes.main:
        save_weights(counter, training.folder / BEST)
    state.seconds = time.monotonic() - started
    return state


def measure(training: Training, *, steps: int = 6) -> tuple[tuple[float, ...], float]:
    """Time the first steps of each stage and one look at the validation images.

    Args:
        training: its counter is trained by a few steps: build it again for the run itself.
        steps: how many are timed in a stage, after two that are not.

    Returns:
        Seconds a step of each stage; seconds a validation.
    """
    optimizer = training.optimizer()
    training.counter.train()
    switch, stages = StageSwitch(training.counter), training.counter.stages
    stage_s = []
    for stage in stages:
        times = []
        batches = training.train.batches(
            0, steps + 2, workers=training.workers, rank=training.processes.rank,
            world=training.processes.world,
        )  # fmt: skip
        started = time.monotonic()
        for step, data in enumerate(batches):
            switch.enter(stage)
            switch.begin(Span(stage, 0, steps + 2), step)
            training.counter.train_step(data, optim_wrapper=optimizer)["loss"].item()
            times.append(time.monotonic() - started)
            started = time.monotonic()
        stage_s.append(median(times[2:]))
    if training.validation is None:
        return tuple(stage_s), 0.0
    started = time.monotonic()
    _validation(training)()
    return tuple(stage_s), time.monotonic() - started


def measured(training: Training, *, test_share: float, started: float) -> Measured:
    """What `fit_budget` needs to know.

    Args:
        training: see `measure`.
        test_share: images in the test part per validation image.
        started: `time.monotonic()` at the start of the command.
    """
    stage_s, validation_s = measure(training)
    shares = [stage.share for stage in training.counter.stages]
    return Measured(
        step_s=sum(map(operator.mul, stage_s, shares)) / sum(shares),
        stage_s=stage_s,
        validation_s=validation_s,
        test_s=test_share * validation_s + 2.0,
        start_s=time.monotonic() - started,
    )


def _validation(training: Training) -> Callable[[], Validation]:
    images = training.validation
    if images is None:
        raise ValueError("this training has no validation images")

    def look() -> Validation:
        return validate(
            training.counter,
            images,
            radius_px=training.config.data.radius_px,
            precision=training.precision,
        )

    return look


def _hooks(
    training: Training, plan: Plan, state: TrainingState, show: Show, interrupt: Interrupt
) -> list[Any]:
    schedule = training.config.schedule
    average = None if schedule.ema is None else WeightAverage(training.counter, schedule.ema)
    cut = spans(training.counter.stages, plan.iterations)
    hooks: list[Any] = [
        StageHook(cut, StageSwitch(training.counter), state, average),
        RateHook(schedule, cut),
        GuardHook(state),
    ]
    if average is not None:
        hooks.append(AverageHook(average, training.counter))
    checkpoint = CheckpointHook(
        plan=plan,
        state=state,
        folder=training.folder,
        interrupt=interrupt,
        writes=training.processes.main,
    )
    if not training.processes.main:
        return [*hooks, checkpoint]  # every process resumes from the one checkpoint
    look = None if training.validation is None else _validation(training)
    return [
        *hooks,
        SelectionHook(
            plan=plan,
            state=state,
            counter=training.counter,
            average=average,
            validate=look,
            folder=training.folder,
        ),
        checkpoint,
        DisplayHook(state=state, show=show),
    ]


def _for_processes(training: Training) -> Any:
    """The counter itself, or wrapped for several processes."""
    if training.processes.world == 1:
        return training.counter
    from mmengine.model import MMDistributedDataParallel

    on_gpu = training.device.type == "cuda"
    return MMDistributedDataParallel(
        module=training.counter,
        device_ids=[training.device.index] if on_gpu else None,
        find_unused_parameters=bool(training.counter.untrained) or len(training.counter.stages) > 1,
    )
