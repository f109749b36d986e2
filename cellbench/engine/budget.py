"""What the first steps of a training take, for a budget to be fitted to."""

import operator
import time

from cellbench.engine.plan import Measured, median
from cellbench.engine.stages import Span, StageSwitch
from cellbench.engine.training import Training, TrainingStep


def measure(training: Training, *, steps: int = 6) -> tuple[tuple[float, ...], float]:
    """Time the first steps of each stage and one look at the validation images.

    Args:
        training: its counter is trained by a few steps: build it again for the run itself.
        steps: how many are timed in a stage, after two that are not.

    Returns:
        Seconds a step of each stage; seconds a validation.
    """
    update = TrainingStep(
        training.counter, training.config.optimizer, device=training.device,
        precision=training.precision, processes=training.processes,
    )  # fmt: skip
    training.counter.train()
    switch, stages = StageSwitch(training.counter), training.counter.stages
    stage_s = []
    for stage in stages:
        times = []
        batches = training.train.batches(
            0, steps + 2, workers=training.workers, rank=training.processes.rank,
            world=training.processes.world,
        )  # fmt: skip
        switch.enter(stage)
        update.forget_capture()
        started = time.monotonic()
        for step, data in enumerate(batches):
            switch.begin(Span(stage, 0, steps + 2), step)
            update(data, seed=step).item()
            times.append(time.monotonic() - started)
            started = time.monotonic()
        stage_s.append(median(times[2:]))
    if training.validation is None:
        return tuple(stage_s), 0.0
    started = time.monotonic()
    training.validate()
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
