"""The whole story of a run: config and data in, record out."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellbench import paths
from cellbench.config import ResolvedConfig, resolve
from cellbench.data.pipeline import AnnotatedImages, PreparedImages
from cellbench.data.resolve import resolve_set
from cellbench.data.splits import Split, find_protocol, make_split
from cellbench.data.store import StoredSet
from cellbench.data.training_set import TrainingSet
from cellbench.data.whole_images import WholeImages
from cellbench.engine import checkpoints, record
from cellbench.engine.devices import (
    Processes,
    agree,
    choose_device,
    choose_precision,
    join_processes,
    leave_processes,
    wait_for_main,
)
from cellbench.engine.evaluation import Labelled, infer, validate
from cellbench.engine.hooks import TrainingState
from cellbench.engine.locks import run_lock, start_over
from cellbench.engine.plan import (
    Plan,
    fit_budget,
    keep_plan,
    make_plan,
    read_plan,
)
from cellbench.engine.released import TrainingCrops
from cellbench.engine.training import Show, Training, fit, measured, run_training
from cellbench.metrics.scoring import score
from cellbench.models.build import build_counter
from cellbench.models.counter import CellCounter
from cellbench.registry import TRANSFORMS
from cellbench.results import records
from cellbench.structures import CellSample, Prediction


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks of `cellbench run`.

    Attributes:
        config: name or path.
        dataset: replaces the config's set.
        split: 0 to 4.
        seed: of everything that is drawn.
        epochs: replaces the config's.
        budget_s: wall-clock seconds to fit the schedule to.
        device: "auto", "cpu", "cuda", ...
        protocol: name.
        overrides: texts of `--set`.
        strict: stop where the real set is not there.
        no_test: leave the test part unread and write no record.
        resume: go on from an interrupted run; False starts over.
        workers: loader processes.
        store: folder of `runs/` and `leaderboards/`; None for the default.
    """

    config: str
    dataset: str | None = None
    split: int = 0
    seed: int = 0
    epochs: int | None = None
    budget_s: float | None = None
    device: str = "auto"
    protocol: str = "v1"
    overrides: tuple[str, ...] = ()
    strict: bool = False
    no_test: bool = False
    resume: bool = True
    workers: int = 0
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Display:
    """How a run speaks: the terminal, or nothing.

    Attributes:
        say: a sentence.
        start: before training: number of steps.
        step: steps done, loss, last validation MAE.
        stop: after training.
    """

    say: Callable[[str], None] = lambda text: None
    start: Callable[[int], None] = lambda iterations: None
    step: Show = lambda done, loss, mae: None
    stop: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        folder: of the run.
        validation_mae: of the kept weights; None without validation.
        record: None with `no_test`, and in processes other than the first.
        record_file: where it is.
        pictures: of test images.
        fresh: False if the record was there before.
    """

    folder: Path
    validation_mae: float | None
    record: dict[str, Any] | None = None
    record_file: Path | None = None
    pictures: list[Path] = field(default_factory=list)
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request with everything it names found."""

    request: Request
    config: ResolvedConfig
    stored: StoredSet
    split: Split
    device: torch.device
    precision: str
    processes: Processes
    store: Path

    def folder(self, weights_sha256: str | None) -> Path:
        """Where the run keeps its log, checkpoints and pictures.

        Its name ends in a hash of all that determines the result, but for the number of steps,
        which a budget fixes only later.
        """
        asked = self.request
        known = {
            "config": self.config.hash,
            "manifest": self.stored.manifest_hash,
            "weights": weights_sha256,
            "protocol": asked.protocol,
            "split": asked.split,
            "seed": asked.seed,
        }
        key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:10]
        slug = "".join(c if c.isalnum() else "-" for c in self.config.method.name.lower())[:40]
        name = f"{slug}-{asked.protocol}-s{asked.split}-r{asked.seed}-{key}"
        return self.store / "runs" / self.stored.name / name


def run(request: Request, display: Display | None = None) -> Outcome:
    """Train and score what a request asks for, or go on where an earlier start stopped.

    Raises:
        UserError: the request cannot be met; one sentence.
        RunError: the run cannot go on; what was finished stays.
    """
    started = time.monotonic()
    display = display or Display()
    prepared = prepare(request, display.say)
    try:
        return _run(prepared, display, started)
    finally:
        leave_processes(prepared.processes)


def _run(prepared: Prepared, display: Display, started: float) -> Outcome:
    request = prepared.request
    counter = _counter(prepared, display.say)
    folder = prepared.folder(_weights(counter)["sha256"])
    # Of the processes that torchrun starts, the first holds the folder for all.
    with run_lock(folder) if prepared.processes.main else nullcontext():
        training = _training(prepared, counter, folder)
        plan = _plan(prepared, training, started, display.say)
        run_id = _run_id(prepared, counter, plan.iterations)
        finished = records.find_record(prepared.store, run_id)
        if finished is not None and not request.no_test:
            return _finished(finished, folder)
        if prepared.processes.main:
            _clear(folder, request.resume, display.say)
        wait_for_main(prepared.processes)
        display.start(plan.iterations)
        try:
            state = fit(training) or run_training(training, plan, show=display.step)
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
        return _score(prepared, training, state, plan, run_id)


def _finished(file: Path, folder: Path) -> Outcome:
    found = records.read_record(file)
    pictures = sorted((folder / "pictures").glob("*.png"))
    validation_mae = found["selection"]["validation_mae"]
    return Outcome(folder, validation_mae, found, file, pictures, fresh=False)


def _clear(folder: Path, resume: bool, say: Callable[[str], None]) -> None:
    """Leave in the run's folder what the training can go on from."""
    last = folder / checkpoints.LAST
    if not resume:
        start_over(folder)
    elif last.is_file() and not checkpoints.readable(last):
        say(f"The checkpoint {last} cannot be read; the run starts over.")
        start_over(folder)


def prepare(request: Request, say: Callable[[str], None]) -> Prepared:
    """Find everything that a request names.

    Raises:
        UserError: config, set, protocol, split or device cannot be had.
    """
    find_protocol(request.protocol)  # a wrong name is told before data are looked for
    config = resolve(request.config, dataset=request.dataset, overrides=request.overrides)
    if request.epochs is not None:
        config = dataclasses.replace(
            config, data=dataclasses.replace(config.data, epochs=request.epochs)
        )
    if request.budget_s is not None:
        config = dataclasses.replace(
            config, schedule=dataclasses.replace(config.schedule, budget_s=request.budget_s)
        )
    device = choose_device(request.device)
    processes = join_processes(device)
    stored = resolve_set(config.data.set, strict=request.strict, say=say)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, set=stored.name))
    return Prepared(
        request=request,
        config=config,
        stored=stored,
        split=make_split(stored, protocol=request.protocol, split=request.split),
        device=device,
        precision=choose_precision(config.schedule.precision, device),
        processes=processes,
        store=paths.store(request.store),
    )


def _counter(prepared: Prepared, say: Callable[[str], None]) -> CellCounter:
    """The method as a run starts with it: the same numbers for the same seed."""
    torch.manual_seed(prepared.request.seed)
    np.random.seed(prepared.request.seed)  # noqa: NPY002 (parts from outside may draw from it)
    counter = build_counter(prepared.config.model, say=say)
    return counter.to(device=prepared.device, memory_format=torch.channels_last)


def _training(prepared: Prepared, counter: CellCounter, folder: Path) -> Training:
    data = prepared.config.data
    train = TrainingSet(
        _images(prepared),
        prepared.split.train,
        transforms=[_transform(prepared, options) for options in data.augment],
        seed=prepared.request.seed,
        split=prepared.request.split,
        crops_per_image=data.crops_per_image,
        batch_size=data.batch_size,
        input_scale=data.input_scale,
    )
    validation: Labelled | None = None
    if prepared.request.protocol == "released":
        validation = TrainingCrops(train)
    elif prepared.split.val:
        validation = _whole(prepared, prepared.split.val)
    return Training(
        counter=counter,
        config=prepared.config,
        train=train,
        validation=validation,
        seed=prepared.request.seed,
        split=prepared.request.split,
        device=prepared.device,
        precision=prepared.precision,
        processes=prepared.processes,
        workers=prepared.request.workers,
        folder=folder,
    )


def _transform(prepared: Prepared, options: Any) -> Any:
    import inspect

    part = TRANSFORMS.get(options["type"])
    wants_scale = "input_scale" in inspect.signature(part).parameters
    given = {"input_scale": prepared.config.data.input_scale} if wants_scale else {}
    return TRANSFORMS.build(options, **given)


def _whole(prepared: Prepared, image_ids: list[str]) -> WholeImages:
    return WholeImages(_images(prepared), image_ids, input_scale=prepared.config.data.input_scale)


def _images(prepared: Prepared) -> AnnotatedImages:
    """The set's images as every method sees them."""
    options = prepared.config.data.prepare
    if not options:
        return prepared.stored
    return PreparedImages(prepared.stored, [_transform(prepared, each) for each in options])


def _plan(
    prepared: Prepared, training: Training, started: float, say: Callable[[str], None]
) -> Plan:
    """As many steps as the epochs have, or as the budget allows, fixed at the first start."""
    schedule, stages = prepared.config.schedule, training.counter.stages
    if schedule.budget_s is None or not training.counter.trained_by_steps:
        iterations = prepared.config.data.epochs * training.train.steps_per_epoch
        return make_plan(iterations, schedule, stages)
    kept = read_plan(training.folder, schedule, stages) if prepared.request.resume else None
    if kept is not None:
        return kept
    # The steps that are timed change the weights: they are done on a counter of their own.
    trial = dataclasses.replace(training, counter=_counter(prepared, lambda text: None))
    test_share = len(prepared.split.test) / max(1, len(prepared.split.val))
    took = measured(trial, test_share=test_share, started=started)
    fitted = fit_budget(schedule.budget_s, took, schedule, stages)
    # Every process times its own steps; the first one's number holds.
    iterations = agree(fitted.iterations, prepared.device)
    looks = agree(len(fitted.validate_after), prepared.device)
    plan = make_plan(iterations, dataclasses.replace(schedule, validations=looks), stages)
    if prepared.processes.main:
        keep_plan(training.folder, plan, took)
    say(f"A step takes {took.step_s:.2f} s: {iterations} steps fit the budget.")
    return plan


def _run_id(prepared: Prepared, counter: CellCounter, iterations: int) -> str:
    return records.run_id(
        config=prepared.config.plain(),
        recipe=prepared.config.recipe,
        manifest_hash=prepared.stored.manifest_hash,
        weights_hash=_weights(counter)["sha256"],
        protocol=prepared.request.protocol,
        split=prepared.request.split,
        seed=prepared.request.seed,
        iterations=iterations,
    )


def _weights(counter: CellCounter) -> dict[str, str | None]:
    info = getattr(counter, "weights_info", None)
    if info is None:
        return {"source": "none", "sha256": None}
    found: dict[str, str | None] = {"source": info.source, "sha256": info.sha256}
    if info.sha256 is None and info.arch:
        found["wanted"] = info.arch  # so that a sweep knows the run again once the file is there
    return found


def _thresholds_from_training(prepared: Prepared, training: Training) -> dict[str, float]:
    """Where a protocol has no validation part: choose on whole training images, and keep it."""
    found = validate(
        training.counter,
        _whole(prepared, prepared.split.train),
        radius_px=prepared.config.data.radius_px,
        precision=training.precision,
    )
    checkpoints.save_weights(training.counter, training.folder / checkpoints.BEST)
    return found.thresholds


def _score(
    prepared: Prepared, training: Training, state: TrainingState, plan: Plan, run_id: str
) -> Outcome:
    """Read the test part, once, and write the record."""
    from cellbench.engine.pictures import draw_pictures

    request, config, counter = prepared.request, prepared.config, training.counter
    test: Labelled = _whole(prepared, prepared.split.test)
    if request.protocol == "released":
        test = TrainingCrops(training.train)
    began = time.monotonic()
    candidates, truth = infer(counter, test, precision=prepared.precision)
    predictions = [counter.select(c) for c in candidates]
    test_s = time.monotonic() - began
    scores = score(truth, predictions, radius_px=config.data.radius_px, candidates=candidates)
    selection = {
        "rule": _selection_rule(request.protocol),
        "step": state.best_step,
        "validation_mae": state.best_mae,
    }
    content = {
        "run_id": run_id,
        "method": config.method.name,
        "method_title": config.method.title,
        "config": config.plain(),
        "config_hash": config.hash,
        "recipe": config.recipe,
        "plugins": record.plugins_of(config.plain()),
        "dataset": prepared.stored.name,
        "simulated": prepared.stored.name.endswith("-sim"),
        "manifest_hash": prepared.stored.manifest_hash,
        "protocol": request.protocol,
        "split": request.split,
        "seed": request.seed,
        "iterations": plan.iterations,
        "epochs": round(plan.iterations / training.train.steps_per_epoch, 3),
        "weights": _weights(counter),
        "selection": selection,
        "thresholds": state.thresholds,
        "parameters": record.parameter_count(counter),
        "gflops": record.gflops(counter, next(iter(test))[0]),
        "images": scores.images,
        "metrics": scores.metrics,
        "curve": state.curve,
        "timing": {
            "train_s": round(state.seconds, 2),
            "step_s": round(state.seconds / plan.iterations, 4),
            "test_s": round(test_s, 3),
            "images_per_s": round(len(truth) / test_s, 3),
            "peak_memory_mb": record.peak_memory_mb(prepared.device),
        },
        "environment": record.environment(prepared.device, prepared.precision, prepared.processes),
    }
    file = records.write_record(prepared.store, content, points=_points(truth, predictions))
    pictures: list[Path] = []
    if request.protocol != "released":
        pictures = draw_pictures(
            training.folder / "pictures",
            prepared.stored,
            truth,
            predictions,
            radius_px=config.data.radius_px,
        )
    return Outcome(training.folder, state.best_mae, records.read_record(file), file, pictures)


def _selection_rule(protocol: str) -> str:
    """What a protocol's weights and thresholds are chosen on, as tables badge it."""
    facts = find_protocol(protocol)
    if not facts.held_out:
        return "train crops"
    return "val" if facts.has_validation else "last"


def _points(
    truth: list[CellSample], predictions: list[Prediction]
) -> dict[str, tuple[Any, Any]] | None:
    """Per image the predicted points and scores; None for a method without points."""
    if any(p.points is None for p in predictions):
        return None
    return {t.image_id: (p.points, p.scores) for t, p in zip(truth, predictions, strict=True)}
