"""Number of training steps that fit a wall-clock budget, from timing the first ones."""

import copy
import dataclasses
import math
import operator
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cellbench.config.run_length import MEASURING, budget_text, rounded_budget
from cellbench.data.resampling import scaled_length
from cellbench.data.whole_images import WholeImages
from cellbench.durations import rough_duration
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

# Share of the measuring time for training steps; the rest is for inference.
_STEPS_SHARE = 0.75

# Fewest steps that a budget must allow, or all those of the epochs if they are fewer: no method
# learns anything from less.
FEWEST_STEPS = 50

# Untimed steps warm up caches, kernels and captures; then at least _TIMED steps are timed, and up
# to _MOST_TIMED within _TIMED_S seconds.
_WARM_UP = 2
_TIMED, _MOST_TIMED, _TIMED_S = 6, 40, 2.0

# Seconds reserved for what follows the test part: FLOPs, pictures, the record.
_ENDING_S = 2.0


def plan_run(prepared: Prepared, training: Training, started: float, display: Display) -> Plan:
    """Compute the length of a run: all steps of its epochs, or those that fit its budget.

    The steps of a budget are fixed at the first start; a resumed run reads them from its folder.

    Args:
        prepared: config, device and processes of the run.
        training: of the run; its counter is not changed.
        started: monotonic seconds, from which a budget counts.
        display: shows that steps are timed, and how many fit.

    Raises:
        UserError: fewer than `FEWEST_STEPS` steps fit.
    """
    schedule, stages = prepared.experiment.config.schedule, training.counter.stages
    full = make_plan(
        prepared.experiment.config.data.epochs * training.train.steps_per_epoch, schedule, stages
    )
    if schedule.budget_s is None or not training.counter.trained_by_steps:
        return full
    stored = read_plan(training.folder, schedule, stages) if prepared.request.resume else None
    if stored is not None:
        return stored
    limit_s = MEASURING * schedule.budget_s
    display.say(f"Timing the first steps, for at most {rough_duration(math.ceil(limit_s))}.")
    timings = _measure(prepared, training, started, limit_s, display)
    fitted = fit_budget(schedule.budget_s, timings, schedule, stages)
    fewest = min(FEWEST_STEPS, full.iterations)
    enough_s = budget_for(fewest, timings, schedule, measuring=MEASURING)
    # Every process times its own steps; the numbers of rank 0 are used.
    iterations = agree(fitted.iterations, prepared.device)
    validations = agree(len(fitted.validate_after), prepared.device)
    enough_s = agree(math.ceil(enough_s), prepared.device)
    if iterations < fewest:
        if prepared.processes.rank:
            raise SystemExit(2)  # rank 0 reports the error
        full_s = timings.start_s + timings.test_s + full.iterations * timings.step_s
        full_s += len(full.validate_after) * timings.validation_s
        given, enough = budget_text(schedule.budget_s), budget_text(rounded_budget(enough_s))
        needed = rough_duration(full_s)
        raise UserError(
            f"A step takes {timings.step_s:.2g} s here, so that {_steps(iterations)} of them fit "
            f"--budget {given}, and fewer than {fewest} train nothing; give --budget {enough} or "
            f"more, or leave it out: all {full.iterations} steps take about {needed}."
        )
    plan = make_plan(
        iterations, dataclasses.replace(schedule, validations=validations), stages, timings
    )
    if prepared.processes.rank == 0:
        keep_plan(training.folder, plan, timings)
    display.say(f"A step takes {timings.step_s:.2g} s: {iterations} steps fit the budget.")
    return plan


def _measure(
    prepared: Prepared, training: Training, started: float, limit_s: float, display: Display
) -> StepTimings:
    """Time steps and inference within a limit, on a copy of the counter."""
    began = time.monotonic()
    # The timed steps change the weights.
    trial = dataclasses.replace(training, counter=_copy_counter(prepared, training))
    clock = Clock(began, limit_s, prepared.device)
    with display.task("measuring", limit_s) as advance:
        stage_s, step_pixels = time_steps(trial, clock.part(_STEPS_SHARE), advance)
        images = training.validation
        if images is None:
            images = whole_images(prepared, prepared.split.train)
        pixels = count_pixels(images)
        measured = time_inference(trial, images, clock, advance)
    shares = [stage.share for stage in training.counter.stages]
    step_s = sum(map(operator.mul, stage_s, shares)) / sum(shares)
    # Inference is less than half of a training step on as many pixels.
    rate = measured if measured is not None else 0.5 * step_s / step_pixels
    inference_s = rate * sum(pixels)
    test_s = inference_s / len(pixels) * len(prepared.split.test) + _ENDING_S
    return StepTimings(
        step_s=step_s,
        stage_s=stage_s,
        # Without validation images the thresholds are chosen once, on the training images.
        validation_s=inference_s if training.validation is not None else 0.0,
        test_s=test_s if training.validation is not None else test_s + inference_s,
        start_s=time.monotonic() - started,
    )


@dataclass(frozen=True, slots=True)
class Clock:
    """Time limit of all processes, which take every step together.

    Attributes:
        began: start, monotonic seconds.
        limit_s: seconds from the start.
        device: of the run.
    """

    began: float
    limit_s: float
    device: torch.device

    def part(self, share: float) -> "Clock":
        """Return a clock of the same start with a share of the limit."""
        return dataclasses.replace(self, limit_s=share * self.limit_s)

    def next_part(self, parts: int) -> "Clock":
        """Return a clock of the same start that ends after one of equal parts of what is left."""
        done = 1 - self.left_s() / self.limit_s
        return self.part(done + (1 - done) / parts)

    def left_s(self) -> float:
        """Return the seconds left to the limit; negative beyond."""
        return self.began + self.limit_s - time.monotonic()

    def go_on(self, wanted: bool) -> bool:
        """Return whether rank 0 wants another measurement and has time left."""
        return bool(agree(int(wanted and self.left_s() > 0), self.device))


def time_steps(
    training: Training, clock: Clock, advance: Advance
) -> tuple[tuple[float, ...], float]:
    """Time the first steps of each stage.

    At least one step is timed; a stage that the time does not suffice for is assumed to be as
    slow as the slowest of the others.

    Args:
        training: its counter is trained by these steps.
        clock: the limit, checked after every step.
        advance: receives the seconds that passed.

    Returns:
        Seconds per step of each stage; network input pixels per step.
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
    stage_s: list[float | None] = []
    try:
        for index, stage in enumerate(stages):
            stage_clock = clock.next_part(len(stages) - index)
            fewest = 1 if index == 0 else 0
            enter_stage(stage, learning)
            update.forget_capture()
            times: list[float] = []
            while len(times) < fewest or stage_clock.go_on(_wanted(times)):
                started = time.monotonic()
                data = next(batches)
                training.counter.begin_step(stage.name, len(times) / length)
                update(data, seed=len(times)).item()
                times.append(time.monotonic() - started)
                advance(times[-1])
                pixels = float(sum(_image_pixels(data)))
            stage_s.append(_mean_step(times))
    finally:
        _close(batches)
    slowest = max(seconds for seconds in stage_s if seconds is not None)
    return tuple(slowest if seconds is None else seconds for seconds in stage_s), pixels


def _mean_step(times: Sequence[float]) -> float | None:
    """Compute the mean seconds of the timed steps, or of the last untimed one; None without any."""
    timed = times[_WARM_UP:] or times[-1:]
    return sum(timed) / len(timed) if timed else None


def _wanted(times: Sequence[float]) -> bool:
    """Return whether more steps are timed for a stable mean, see `_TIMED`."""
    timed = times[_WARM_UP:]
    return len(timed) < _TIMED or (sum(timed) < _TIMED_S and len(timed) < _MOST_TIMED)


def time_inference(
    training: Training, images: Labelled, clock: Clock, advance: Advance
) -> float | None:
    """Time inference and calibration on the first images.

    Args:
        training: its counter is calibrated on these images.
        images: as they are validated.
        clock: the limit, checked before every batch.
        advance: receives the seconds that passed.

    Returns:
        Seconds per pixel of the network's input; None if the time is over before the first.
    """
    rate = None
    for part in _growing(images):
        pixels = sum(_image_pixels(part[0][0]))
        if clock.left_s() <= (0 if rate is None else rate * pixels):
            break
        started = time.monotonic()
        validate(
            training.counter, part, radius_px=training.config.data.radius_px,
            precision=training.precision,
        )  # fmt: skip
        seconds = time.monotonic() - started
        rate = seconds / pixels
        advance(seconds)
    return rate


def _growing(images: Labelled) -> Iterator[list[tuple[dict[str, Any], Any]]]:
    """Yield the first image alone, as a warm-up too, then the whole first batch, twice."""
    batches = iter(images)
    data, samples = next(batches)
    _close(batches)
    one = dict(data, arrays=data["arrays"][:1], image_ids=data["image_ids"][:1])
    yield [(one, samples[:1])]
    yield [(data, samples)]
    yield [(data, samples)]


def count_pixels(images: Labelled) -> list[int]:
    """Count the network input pixels of each image; `WholeImages` are not decoded."""
    if isinstance(images, WholeImages):
        return [
            math.prod(scaled_length(edge, images.input_scale) for edge in sample.size)
            for sample in images.samples.values()
        ]
    return [pixels for data, _ in images for pixels in _image_pixels(data)]


def _image_pixels(data: Mapping[str, Any]) -> list[int]:
    return [array.shape[0] * array.shape[1] for array in data["arrays"]]


def _close(batches: Iterator[Any]) -> None:
    """Close a generator or loader; other iterators have nothing to close."""
    close = getattr(batches, "close", None)
    if close is not None:
        close()


def _copy_counter(prepared: Prepared, training: Training) -> CellCounter:
    """Return a counter of the same weights, for trial steps."""
    try:
        return copy.deepcopy(training.counter)
    except (TypeError, RuntimeError):  # parts from outside may not be copyable
        return start_counter(prepared, lambda text: None)


def _steps(number: int) -> str:
    return str(number) if number > 1 else "hardly one"
