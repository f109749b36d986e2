"""The steps that fit a wall-clock budget: time the first ones, and refuse what trains nothing."""

import copy
import dataclasses
import math
import operator
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cellbench.config.run_length import MEASURING, budget_text, duration_text, rounded_budget
from cellbench.data.resampling import scaled_length
from cellbench.data.whole_images import WholeImages
from cellbench.engine.assembly import Prepared, start_counter, whole_images
from cellbench.engine.devices import agree
from cellbench.engine.evaluation import Labelled, validate
from cellbench.engine.schedule import (
    Plan,
    StepTimings,
    budget_for,
    fit_budget,
    keep_plan,
    make_plan,
    read_plan,
)
from cellbench.engine.stages import enter_stage, learning_parameters
from cellbench.engine.training import TrainingStep
from cellbench.engine.training_state import Training
from cellbench.engine.work_progress import Advance, Display
from cellbench.errors import UserError
from cellbench.models.counter import CellCounter

# The part of the measuring time that steps may take.
_STEPS_SHARE = 0.75

# With fewer steps no method learns anything (or those of its own epochs, where they are fewer).
FEWEST_STEPS = 50

# Steps that warm up caches, kernels and captures; then as many as fit this many seconds.
_WARM_UP = 2
_TIMED, _MOST_TIMED, _TIMED_S = 6, 40, 2.0

# Kept for what follows the test part: FLOPs, pictures, the record.
_ENDING_S = 2.0


def plan_run(prepared: Prepared, training: Training, started: float, display: Display) -> Plan:
    """As many steps as the epochs have, or as the budget allows, fixed at the first start.

    Args:
        prepared: config, device and processes of the run.
        training: of the run; its counter is left as it is.
        started: monotonic seconds, from which a budget counts.
        display: is told that steps are timed, and what fits.

    Raises:
        UserError: fewer than `FEWEST_STEPS` steps fit.
    """
    schedule, stages = prepared.experiment.config.schedule, training.counter.stages
    own = make_plan(
        prepared.experiment.config.data.epochs * training.train.steps_per_epoch, schedule, stages
    )
    if schedule.budget_s is None or not training.counter.trained_by_steps:
        return own
    kept = read_plan(training.folder, schedule, stages) if prepared.request.resume else None
    if kept is not None:
        return kept
    limit_s = MEASURING * schedule.budget_s
    display.say(f"Timing the first steps, for at most {duration_text(limit_s)}.")
    timings = _measure(prepared, training, started, limit_s, display)
    fitted = fit_budget(schedule.budget_s, timings, schedule, stages)
    fewest = min(FEWEST_STEPS, own.iterations)
    enough_s = budget_for(fewest, timings, schedule, measuring=MEASURING)
    # Every process times its own steps; the first one's numbers hold.
    iterations = agree(fitted.iterations, prepared.device)
    looks = agree(len(fitted.validate_after), prepared.device)
    enough_s = agree(math.ceil(enough_s), prepared.device)
    if iterations < fewest:
        if prepared.processes.rank:
            raise SystemExit(2)  # the first process says why
        own_s = timings.start_s + timings.test_s + own.iterations * timings.step_s
        own_s += len(own.validate_after) * timings.validation_s
        given, enough = budget_text(schedule.budget_s), budget_text(rounded_budget(enough_s))
        raise UserError(
            f"A step takes {timings.step_s:.2g} s here, so that {_steps(iterations)} of them fit "
            f"--budget {given}, and fewer than {fewest} train nothing; give --budget {enough} or "
            f"more, or leave it out: all {own.iterations} steps take about {duration_text(own_s)}."
        )
    plan = make_plan(iterations, dataclasses.replace(schedule, validations=looks), stages, timings)
    if prepared.processes.rank == 0:
        keep_plan(training.folder, plan, timings)
    display.say(f"A step takes {timings.step_s:.2g} s: {iterations} steps fit the budget.")
    return plan


def _measure(
    prepared: Prepared, training: Training, started: float, limit_s: float, display: Display
) -> StepTimings:
    """Time steps and inference within a limit, on a copy of the counter."""
    began = time.monotonic()
    # The steps that are timed change the weights.
    trial = dataclasses.replace(training, counter=_copied(prepared, training))
    clock = Clock(began, limit_s, prepared.device)
    with display.task("measuring", limit_s) as advance:
        stage_s, step_pixels = time_steps(trial, clock.part(_STEPS_SHARE), advance)
        images = training.validation
        if images is None:
            images = whole_images(prepared, prepared.split.train)
        pixels = count_pixels(images)
        known = pixel_s(trial, images, clock, advance)
    shares = [stage.share for stage in training.counter.stages]
    step_s = sum(map(operator.mul, stage_s, shares)) / sum(shares)
    # Inference is less than half of a training step on as many pixels.
    rate = known if known is not None else 0.5 * step_s / step_pixels
    look_s = rate * sum(pixels)
    test_s = look_s / len(pixels) * len(prepared.split.test) + _ENDING_S
    return StepTimings(
        step_s=step_s,
        stage_s=stage_s,
        # Without validation images the thresholds are chosen once, on the training images.
        validation_s=look_s if training.validation is not None else 0.0,
        test_s=test_s if training.validation is not None else test_s + look_s,
        start_s=time.monotonic() - started,
    )


@dataclass(frozen=True, slots=True)
class Clock:
    """A time limit that all processes see alike, as they share every step.

    Attributes:
        began: monotonic seconds.
        limit_s: seconds from there.
        device: of the run.
    """

    began: float
    limit_s: float
    device: torch.device

    def part(self, share: float) -> "Clock":
        """The limit at a share of this one."""
        return dataclasses.replace(self, limit_s=share * self.limit_s)

    def left_s(self) -> float:
        """Seconds to the limit; negative beyond."""
        return self.began + self.limit_s - time.monotonic()

    def go_on(self, wanted: bool) -> bool:
        """Whether the first process has another step to measure and time left."""
        return bool(agree(int(wanted and self.left_s() > 0), self.device))


def time_steps(
    training: Training, clock: Clock, advance: Advance
) -> tuple[tuple[float, ...], float]:
    """Time the first steps of each stage.

    At least one step is done; a stage that the time does not suffice for is taken to be as slow
    as the slowest of the others.

    Args:
        training: its counter is trained by these steps.
        clock: the limit, looked at after every step.
        advance: takes the seconds that passed.

    Returns:
        Seconds a step of each stage; network input pixels of a step.
    """
    update = TrainingStep(
        training.counter, training.config.optimizer, device=training.device,
        precision=training.precision, processes=training.processes,
    )  # fmt: skip
    training.counter.train()
    learning, stages = learning_parameters(training.counter), training.counter.stages
    length = _WARM_UP + _MOST_TIMED
    batches = training.train.batches(
        0, len(stages) * length, workers=training.workers,
        rank=training.processes.rank, world=training.processes.world,
    )  # fmt: skip
    pixels = 1.0
    took: list[float | None] = []
    try:
        for index, stage in enumerate(stages):
            done = 1 - clock.left_s() / clock.limit_s
            part = clock.part(done + (1 - done) / (len(stages) - index))
            enter_stage(stage, learning)
            update.forget_capture()
            times: list[float] = []
            while (index == 0 and not times) or part.go_on(_wanted(times)):
                started = time.monotonic()
                data = next(batches)
                training.counter.begin_step(stage.name, len(times) / length)
                update(data, seed=len(times)).item()
                times.append(time.monotonic() - started)
                advance(times[-1])
                pixels = float(sum(array.shape[0] * array.shape[1] for array in data["arrays"]))
            timed = times[_WARM_UP:] or times[-1:]
            took.append(sum(timed) / len(timed) if timed else None)
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
    slowest = max(seconds for seconds in took if seconds is not None)
    return tuple(slowest if seconds is None else seconds for seconds in took), pixels


def _wanted(times: Sequence[float]) -> bool:
    """Whether more steps make the mean more certain, without taking long."""
    timed = times[_WARM_UP:]
    return len(timed) < _TIMED or (sum(timed) < _TIMED_S and len(timed) < _MOST_TIMED)


def pixel_s(training: Training, images: Labelled, clock: Clock, advance: Advance) -> float | None:
    """Time inference and calibration on the first images.

    Args:
        training: its counter is calibrated on these images.
        images: as they are validated.
        clock: the limit, looked at after every batch.
        advance: takes the seconds that passed.

    Returns:
        Seconds per pixel of the network's input; None if the time is over before the first.
    """
    known = None
    for part in _growing(images):
        pixels = sum(array.shape[0] * array.shape[1] for array in part[0][0]["arrays"])
        if clock.left_s() <= (0 if known is None else known * pixels):
            break
        started = time.monotonic()
        validate(
            training.counter, part, radius_px=training.config.data.radius_px,
            precision=training.precision,
        )  # fmt: skip
        seconds = time.monotonic() - started
        known = seconds / pixels
        advance(seconds)
    return known


def _growing(images: Labelled) -> Iterator[list[tuple[dict[str, Any], Any]]]:
    """The first image alone, which also warms up, then the whole first batch, twice."""
    batches = iter(images)
    data, samples = next(batches)
    close = getattr(batches, "close", None)
    if close is not None:
        close()
    one = dict(data, arrays=data["arrays"][:1], image_ids=data["image_ids"][:1])
    yield [(one, samples[:1])]
    yield [(data, samples)]
    yield [(data, samples)]


def count_pixels(images: Labelled) -> list[int]:
    """Network input pixels of each image; of whole images without decoding them."""
    if isinstance(images, WholeImages):
        return [
            math.prod(scaled_length(edge, images.input_scale) for edge in sample.size)
            for sample in images.samples.values()
        ]
    return [array.shape[0] * array.shape[1] for data, _ in images for array in data["arrays"]]


def _copied(prepared: Prepared, training: Training) -> CellCounter:
    """A counter of the same weights, for trial steps."""
    try:
        return copy.deepcopy(training.counter)
    except (TypeError, RuntimeError):  # parts from outside may hold what cannot be copied
        return start_counter(prepared, lambda text: None)


def _steps(number: int) -> str:
    return str(number) if number > 1 else "hardly one"
