"""Recommendation of a method for a set of annotated pictures, trained on all of them."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from cellbench.data.splits import EVERYTHING, SPLITS
from cellbench.data.stored_set import StoredSet, open_set
from cellbench.durations import rough_duration
from cellbench.engine.devices import choose_device
from cellbench.engine.request import Request
from cellbench.engine.work_progress import Display
from cellbench.files.writing import write_atomically
from cellbench.recommending.candidates import candidates
from cellbench.recommending.choice import Units, choose
from cellbench.recommending.error_sheets import draw_errors
from cellbench.recommending.evidence import (
    LEVEL,
    MeanError,
    learning_curve_exponent,
    mean_error,
    pictures_to_halve,
)
from cellbench.recommending.folds import CandidateResults, FoldRunner, Runner, exposures
from cellbench.recommending.kept_counts import kept_models_for
from cellbench.recommending.race import MIN_FOLDS, Budget, race_networks, run_all_folds
from cellbench.records.expected_error import RECOMMENDATION

# Share of the time left that the last training is planned to take.
_TRUST = 0.6


@dataclass(frozen=True, slots=True)
class MethodResult:
    """Cross-validated result of a method.

    Attributes:
        name: name of the method.
        state: "recommended", "best", "as good", "worse", "given up", "not tried" or "control".
        error: mean absolute error over all tested pictures; None if there are none.
        minutes: mean duration of a fold's training and scoring; None if there is none.
        note: why it was given up or not tried.
    """

    name: str
    state: str
    error: MeanError | None
    minutes: float | None
    note: str = ""


@dataclass(frozen=True)
class Recommendation:
    """Result of `recommend`.

    Attributes:
        dataset: name of the set.
        method: name of the recommended method.
        results: results of all methods, the least error first, those dropped last.
        folder: folder of the run on all pictures, as `cellbench count --with` takes it.
        mean_count: mean number of cells per picture of the set.
        more_pictures: number of further annotated pictures that would halve the interval.
        curve: (number of training pictures, mean absolute error) pairs; empty if not measured.
        pictures: contact sheets of the finalists' largest errors.
        residuals: id, truth and prediction of each tested picture, by the recommended method.
    """

    dataset: str
    method: str
    results: tuple[MethodResult, ...]
    folder: Path
    mean_count: float
    more_pictures: int
    curve: tuple[tuple[float, float], ...]
    pictures: tuple[Path, ...]
    residuals: tuple[dict[str, float | str], ...]


def recommend_method(
    name: str,
    *,
    budget_s: float,
    device: str = "auto",
    store: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Recommendation:
    """Cross-validate the methods that fit in a budget, and train the best one for its cost.

    Args:
        name: name of a set on disk.
        budget_s: time for everything, seconds.
        device: "auto", "cpu", "cuda", ...
        store: folder of `runs/`.
        say: function that takes progress messages, one sentence each.

    Raises:
        UserError: there is no such set, it is too small, or the folds of no method fit in the
            budget.
        RunError: no method could be trained.
    """
    budget = Budget(budget_s, began=time.monotonic())
    stored = open_set(name)
    own = stored.manifest.own
    gpu = choose_device(device).type == "cuda"
    baselines, networks = candidates(gpu=gpu, counts_only=own is not None and own.counts_only)
    trainer = FoldRunner(name, device, store, lambda text: None)
    units = {i: stored.group(i) or i for i in stored.ids}
    kept, runners = kept_models_for(stored, device, store, say)
    untrained = [CandidateResults(one) for one in baselines]
    untrained[1:1] = kept  # after MeanCount, which takes no time
    trained = [CandidateResults(one) for one in networks]
    raced = [*untrained, *trained]
    say(f"{name}: {len(stored)} pictures, {len(set(units.values()))} of them independent; "
        f"{len(raced)} methods in {rough_duration(budget_s)}.")  # fmt: skip
    timed = next((one for one in untrained if not (one.out or one.candidate.control)), None)
    for one in untrained:
        if not one.out:
            runner = runners.get(one.candidate.name, trainer)
            # The first fold of one method always runs, to estimate the budget that would suffice.
            run_all_folds(runner, one, budget, say, first=one is timed)
    race_networks(trainer, trained, untrained, units, budget, say)
    chosen, finalists = choose(raced, units)
    of_model = runners.get(chosen.candidate.name)
    done = "is trained on" if of_model is None else "is corrected by"
    say(f"{chosen.candidate.name} {done} all {len(stored)} pictures.")
    curve = _curve(of_model or trainer, chosen, budget.curve_end)
    power = 0.0 if len(curve) < 2 else learning_curve_exponent(
        int(curve[0][0]), int(curve[1][0]), curve[0][1], curve[1][1]
    )  # fmt: skip
    if of_model is not None:
        folder = of_model.write(chosen)
    else:
        left_s = max(budget.left_s(), chosen.budget_s or 0.0)
        folder = _train_on_all(chosen, name, left_s, device, store)
    counts = [entry.count for entry in stored.manifest.entries]
    found = Recommendation(
        dataset=name,
        method=chosen.candidate.name,
        results=_results(raced, chosen, finalists, units),
        folder=folder,
        mean_count=float(np.mean(counts)),
        more_pictures=pictures_to_halve(len(stored), power),
        curve=tuple(curve),
        pictures=draw_errors(finalists, folder),
        residuals=tuple(
            {key: image[key] for key in ("id", "truth", "prediction")} for image in chosen.images
        ),
    )
    _keep(found, stored)
    return found


def _curve(runner: Runner, chosen: CandidateResults, deadline: float) -> list[tuple[float, float]]:
    """Measure the learning curve: MAE with half and with all training pictures of some folds.

    Returns:
        (mean number of training pictures, MAE) of both; empty if there is no time for it, or a
        training fails.
    """
    trial = replace(chosen, halved=[], half_sizes=[])
    cost = float(np.mean(chosen.seconds))
    for split in SPLITS:
        if split >= MIN_FOLDS and time.monotonic() + cost > deadline:
            break
        if split == 0 and time.monotonic() + MIN_FOLDS * cost > deadline:
            return []
        runner.run(trial, split, half=True)
        if trial.out:
            return []
    if not trial.halved:
        return []
    whole = chosen.errors
    half = {str(one["id"]): abs(one["prediction"] - one["truth"]) for one in trial.halved}
    many = float(np.mean(chosen.train_sizes[: len(trial.half_sizes)]))
    return [
        (float(np.mean(trial.half_sizes)), float(np.mean(list(half.values())))),
        (many, float(np.mean([whole[i] for i in half]))),
    ]


def _train_on_all(
    chosen: CandidateResults, name: str, left_s: float, device: str, store: str | None
) -> Path:
    from cellbench.engine.run import run

    # At least the epochs of a fold, although there are more pictures; more epochs if they fit.
    fold_s, epochs = float(np.mean(chosen.seconds)), None
    if chosen.epochs is not None:
        epochs = max(chosen.epochs, int(chosen.epochs * _TRUST * left_s / fold_s))
    request = Request(
        config=chosen.candidate.config,
        dataset=name,
        overrides=exposures(chosen.candidate, name),
        epochs=epochs,
        device=device,
        protocol=EVERYTHING,
        strict=True,
        store=store,
    )
    return run(request, Display(), started=time.monotonic()).folder


def _results(
    raced: Sequence[CandidateResults],
    chosen: CandidateResults,
    finalists: Sequence[CandidateResults],
    units: Units,
) -> tuple[MethodResult, ...]:
    best = min(finalists, key=lambda one: one.mae)
    # One method is chosen by its errors: simultaneous intervals (Bonferroni) hold for it too.
    compared = sum(bool(one.images) and not one.candidate.control for one in raced)
    level = 1 - (1 - LEVEL) / compared
    found = []
    for one in sorted(raced, key=lambda one: (bool(one.out), one.mae)):
        state = "worse"
        if one is chosen:
            state = "recommended"
        elif one is best:
            state = "best"
        elif one in finalists:
            state = "as good"
        elif one.candidate.control:
            state = "control"
        elif one.out:
            state = "given up" if one.images else "not tried"
        error = mean_error(one.errors, units, level) if one.images else None
        minutes = float(np.mean(one.seconds)) / 60 if one.seconds else None
        found.append(MethodResult(one.candidate.name, state, error, minutes, one.out))
    return tuple(found)


def _keep(found: Recommendation, stored: StoredSet) -> None:
    document = asdict(found) | {
        "manifest_hash": stored.manifest_hash,
        "folder": found.folder.name,
        "pictures": [file.name for file in found.pictures],
    }
    text = json.dumps(document, indent=1) + "\n"
    write_atomically(found.folder / RECOMMENDATION, text.encode("ascii"), elsewhere="--store")
