"""A run from config and data to its record: prepare, train, score, write."""

import math
import time
from contextlib import ExitStack
from dataclasses import replace

from cellbench.engine import checkpoints
from cellbench.engine.assembly import (
    Prepared,
    make_training,
    prepare,
    start_counter,
    whole_images,
)
from cellbench.engine.budget import plan_run
from cellbench.engine.devices import keep_freed_memory, leave_processes, wait_for_main
from cellbench.engine.evaluation import validate
from cellbench.engine.request import (
    Outcome,
    Request,
    copy_record,
    find_finished,
    finished_outcome,
    resolve_run,
)
from cellbench.engine.schedule import effort
from cellbench.engine.scoring import draw, score_test, write_result
from cellbench.engine.training import finish_fit, run_training
from cellbench.engine.training_state import Training, TrainingState
from cellbench.engine.work_progress import Display
from cellbench.errors import RunError
from cellbench.files.locks import hold_folder
from cellbench.records.record_file import find_record, read_record
from cellbench.records.run_files import WEIGHTS


def run(
    request: Request, display: Display | None = None, *, started: float | None = None
) -> Outcome:
    """Train and score the run of a request, or resume it.

    Args:
        request: arguments of the run.
        display: shows the progress.
        started: monotonic seconds, from which a budget counts; None for now.

    Raises:
        UserError: the request cannot be met; one sentence.
        RunError: the run cannot continue; what was finished stays.
    """
    started = time.monotonic() if started is None else started
    display = display or Display()
    found = resolve_run(request, display.say)
    return find_finished(found) or run_prepared(prepare(found), display, started)


def run_prepared(prepared: Prepared, display: Display, started: float) -> Outcome:
    """Train and score a prepared run, and leave its process group at the end.

    Args:
        prepared: from `prepare`.
        display: shows the progress.
        started: monotonic seconds, from which a budget counts.

    Raises:
        UserError: another process holds this run's folder, or a budget is too short.
        RunError: the run cannot continue; what was finished stays.
    """
    request, main = prepared.request, prepared.processes.rank == 0
    with ExitStack() as stack:
        if prepared.processes.world > 1:
            stack.push(leave_processes)
        keep_freed_memory(prepared.device)
        counter = start_counter(prepared, display.say)
        experiment = replace(prepared.experiment, weights=counter.weights_info.sha256)
        folder = experiment.folder(prepared.store)
        if main:  # rank 0 locks the folder for all processes
            busy = f"Another process is at this run ({folder}); wait for it, or change --seed or "
            busy += "--split for a run of its own."
            stack.enter_context(hold_folder(folder, elsewhere="--store", busy=busy))
        training = make_training(prepared, counter, folder, task=display.task)
        plan = plan_run(prepared, training, started, display)
        experiment = replace(experiment, iterations=plan.iterations)
        # What `find_finished` could not decide before weights and steps were known.
        finished = find_record(prepared.store, experiment.id)
        if finished is not None and not request.no_test:
            return finished_outcome(read_record(finished), finished, folder)
        if main:
            checkpoints.clear(folder, resume=request.resume, say=display.say)
        if prepared.processes.world > 1:
            wait_for_main()
        if not counter.trained_by_steps:
            display.say(f"{experiment.config.method.name} is not trained by steps.")
        try:
            began = time.monotonic()
            if counter.fit(training.train, training.validation):
                state = finish_fit(training, began)
            else:
                display.start(plan.iterations, effort(plan, counter.stages))
                state = run_training(training, plan, show=display.step)
        finally:
            display.stop()
        if state.best_mae is not None and not math.isfinite(state.best_mae):
            raise _never_finite(experiment.config.method.name)  # before the test images are read
        if not main:
            return Outcome(folder, state.best_mae)
        checkpoints.load_weights(counter, folder / WEIGHTS)
        if training.validation is None:
            _choose_on_training(prepared, training, state)
        if request.no_test:
            return Outcome(folder, state.best_mae)
        display.say(f"Scoring {len(prepared.split.test)} test images.")
        scored = score_test(prepared, training, state.corrections, task=display.task)
        # Before the record, which marks the run as finished: a kill between the two would leave a
        # finished run without pictures.
        pictures = draw(prepared, training, scored, display.say)
        file = write_result(prepared, training, state, experiment, scored)
        record = read_record(file)
        copy_record(record, file, folder)
        return Outcome(folder, state.best_mae, record, file, pictures)


def _never_finite(method: str) -> RunError:
    """Return the error of a method that gave no finite count in any validation."""
    return RunError(
        f"{method} counted NaN or infinitely many cells in each of its validations, so that no "
        "weights can be chosen; mend the method or its learning rate and start it over with "
        "--fresh (the test part is unread)."
    )


def _choose_on_training(prepared: Prepared, training: Training, state: TrainingState) -> None:
    """Choose thresholds and correction on whole training images, where there is no validation part.

    They are saved with the weights.
    """
    found = validate(
        training.counter,
        whole_images(prepared, prepared.split.train),
        radius_px=prepared.experiment.config.data.radius_px,
        precision=training.precision,
        fold=prepared.fold,
    )
    checkpoints.save_weights(training.counter, training.folder / WEIGHTS)
    state.keep_choices(found)
