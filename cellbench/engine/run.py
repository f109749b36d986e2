"""The whole story of a run: config and data in, record out."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from cellbench.engine import checkpoints
from cellbench.engine.assembly import (
    find_run_id,
    make_training,
    start_counter,
    starting_weights,
    whole_images,
)
from cellbench.engine.budget import plan_run
from cellbench.engine.devices import keep_freed_memory, leave_processes, wait_for_main
from cellbench.engine.evaluation import validate
from cellbench.engine.request import Outcome, Prepared, Request, prepare
from cellbench.engine.run_lock import run_lock, start_over
from cellbench.engine.schedule import effort
from cellbench.engine.scoring import Scored, draw, score_test, write_result
from cellbench.engine.training import Training, fit, run_training
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.files.writing import write_atomically
from cellbench.records import record_file
from cellbench.records.trained_runs import RECORD, weights_match_record


def run(
    request: Request, display: Display | None = None, *, started: float | None = None
) -> Outcome:
    """Train and score what a request asks for, or go on where an earlier start stopped.

    Args:
        request: what to run.
        display: is told how far the run is.
        started: monotonic seconds, from which a budget counts; None for now.

    Raises:
        UserError: the request cannot be met; one sentence.
        RunError: the run cannot go on; what was finished stays.
    """
    started = time.monotonic() if started is None else started
    display = display or Display()
    prepared = prepare(request, display.say)
    try:
        return run_prepared(prepared, display, started)
    finally:
        leave_processes(prepared.processes)


def run_prepared(prepared: Prepared, display: Display, started: float) -> Outcome:
    """Train and score what has been found.

    Args:
        prepared: from `prepare`.
        display: is told.
        started: monotonic seconds, from which a budget counts.

    Raises:
        RunError: the run cannot go on; what was finished stays.
    """
    request = prepared.request
    keep_freed_memory(prepared.device)
    counter = start_counter(prepared, display.say)
    folder = prepared.folder(starting_weights(counter)["sha256"])
    # Of the processes that torchrun starts, the first holds the folder for all.
    with run_lock(folder) if prepared.processes.main else nullcontext():
        training = make_training(prepared, counter, folder, task=display.task)
        plan = plan_run(prepared, training, started, display)
        run_id = find_run_id(prepared, counter, plan.iterations)
        finished = record_file.find_record(prepared.store, run_id)
        if finished is not None and not request.no_test:
            return _finished(finished, folder)
        if prepared.processes.main:
            _clear(folder, request.resume, display.say)
        wait_for_main(prepared.processes)
        if not counter.trained_by_steps:
            display.say(f"{prepared.config.method.name} is not trained by steps.")
        try:
            state = fit(training)
            if state is None:
                display.start(plan.iterations, effort(plan, counter.stages))
                state = run_training(training, plan, show=display.step)
        finally:
            display.stop()
        if not prepared.processes.main:
            return Outcome(folder, state.best_mae)
        checkpoints.load_weights(counter, folder / checkpoints.BEST)
        if training.validation is None:
            state.thresholds = _thresholds_from_training(prepared, training)
        if request.no_test:
            return Outcome(folder, state.best_mae)
        display.say(f"Scoring {len(prepared.split.test)} test images.")
        scored = score_test(prepared, training, task=display.task)
        # Before the record, which ends the run: a kill between the two would leave none.
        pictures = _drawn(prepared, training, scored, display.say)
        file = write_result(prepared, training, state, plan, run_id, scored)
        return Outcome(
            folder, state.best_mae, _copy_record_to_run_folder(folder, file), file, pictures
        )


def _drawn(
    prepared: Prepared, training: Training, scored: Scored, say: Callable[[str], None]
) -> list[Path]:
    """The pictures of the test part; a disk that takes none costs no record."""
    try:
        return draw(prepared, training, scored)
    except UserError as error:
        say(f"The pictures are left out. {error}")
        return []


def _copy_record_to_run_folder(folder: Path, file: Path) -> dict[str, Any]:
    """The record, of which a copy goes beside its weights: `cellbench count` takes both."""
    record = record_file.read_record(file)
    if weights_match_record(folder / checkpoints.BEST, record):
        write_atomically(folder / RECORD, file.read_bytes())
    return record


def _finished(file: Path, folder: Path) -> Outcome:
    found = _copy_record_to_run_folder(folder, file)
    pictures = sorted((folder / "pictures").glob("*.png"))
    validation_mae = found["selection"]["validation_mae"]
    return Outcome(folder, validation_mae, found, file, pictures, fresh=False)


def _clear(folder: Path, resume: bool, say: Callable[[str], None]) -> None:
    """Leave in the run's folder what the training can go on from."""
    last = folder / checkpoints.LAST
    if not resume:
        start_over(folder)
    elif last.is_file() and (problem := checkpoints.why_unusable(last)):
        say(f"The checkpoint {last} {problem}; the run starts over.")
        start_over(folder)


def _thresholds_from_training(prepared: Prepared, training: Training) -> dict[str, float]:
    """Where a protocol has no validation part: choose on whole training images, and keep it."""
    found = validate(
        training.counter,
        whole_images(prepared, prepared.split.train),
        radius_px=prepared.config.data.radius_px,
        precision=training.precision,
        fold=prepared.fold,
    )
    checkpoints.save_weights(training.counter, training.folder / checkpoints.BEST)
    return found.thresholds
