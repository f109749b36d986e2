"""Recommendation of a method for a set of annotated pictures, trained on all of them."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from cellbench.config.run_length import duration_text
from cellbench.data.splits import EVERYTHING, SPLITS
from cellbench.data.stored_set import StoredSet, open_set
from cellbench.engine.devices import choose_device
from cellbench.engine.request import Request
from cellbench.engine.work_progress import Display
from cellbench.files.writing import write_atomically
from cellbench.recommending.candidates import candidates
from cellbench.recommending.choice import RACE, Units, choose
from cellbench.recommending.error_sheets import draw_errors
from cellbench.recommending.evidence import (
    LEVEL,
    MeanError,
    clearly_worse,
    learning_curve_exponent,
    mean_error,
    pictures_to_halve,
)
from cellbench.recommending.folds import CandidateResults, FoldRunner, Runner, exposures
from cellbench.recommending.kept_counts import kept_models_for
from cellbench.records.expected_error import RECOMMENDATION

# Share of the budget for the folds and the learning curve.
_CURVE = 0.72
# Share of the time left that the last training is planned to take.
_TRUST = 0.6
# Shortest time per fold in which a network can be trained at all.
_LEAST_FOLD_S = 20.0
# Time per fold that a network gets before the next one is tried.
_WORTHWHILE_S = 80.0
# Number of folds before a method may be given up.
_BEFORE_GIVING_UP = 2


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
        UserError: there is no such set, or it is too small.
        RunError: no method could be trained.
    """
    started = time.monotonic()
    stored = open_set(name)
    own = stored.manifest.own
    gpu = choose_device(device).type == "cuda"
    baselines, networks = candidates(gpu=gpu, counts_only=own is not None and own.counts_only)
    trainer = FoldRunner(name, device, store, lambda text: None)
    units = {i: stored.group(i) or i for i in stored.ids}
    kept, runners = kept_models_for(stored, device, store, say)
    quick = [CandidateResults(one) for one in baselines]
    quick[1:1] = kept  # after MeanCount, which takes no time
    raced = [*quick, *(CandidateResults(one) for one in networks)]
    say(f"{name}: {len(stored)} pictures, {len(set(units.values()))} of them independent; "
        f"{len(raced)} methods in {duration_text(budget_s)}.")  # fmt: skip
    timed = next((one for one in quick if not (one.out or one.candidate.control)), None)
    for one in quick:
        if not one.out:
            runner = runners.get(one.candidate.name, trainer)
            # The first fold of one method always runs, to estimate the budget that would suffice.
            _all_folds(
                runner, one, started + RACE * budget_s, say, first=one is timed, began=started
            )
    _race(trainer, raced, len(quick), units, started + RACE * budget_s, say)
    chosen, finalists = choose(raced, units)
    of_model = runners.get(chosen.candidate.name)
    done = "is trained on" if of_model is None else "is corrected by"
    say(f"{chosen.candidate.name} {done} all {len(stored)} pictures.")
    curve = _curve(of_model or trainer, chosen, started + _CURVE * budget_s)
    power = 0.0 if len(curve) < 2 else learning_curve_exponent(
        int(curve[0][0]), int(curve[1][0]), curve[0][1], curve[1][1]
    )  # fmt: skip
    if of_model is not None:
        folder = of_model.write(chosen)
    else:
        left_s = max(started + budget_s - time.monotonic(), chosen.budget_s or 0.0)
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


def _all_folds(
    runner: Runner,
    one: CandidateResults,
    deadline: float,
    say: Callable[[str], None],
    *,
    began: float,
    first: bool = False,
) -> None:
    """Run a baseline on every fold, unless they would exceed the deadline.

    Args:
        runner: runner of its folds.
        one: the baseline.
        deadline: monotonic time, as `began`.
        say: function that takes progress messages.
        began: start of the command, since `needs_s` includes the start and other methods.
        first: whether its first fold runs in any case.
    """
    for split in SPLITS:
        fold_s = float(np.mean(one.seconds)) if one.seconds else 0.0
        ends = time.monotonic() + (len(SPLITS) - split) * fold_s
        if ends > deadline and (split or not first):
            one.needs_s = ends - began if one.seconds else 0.0
            one.out = f"Its {len(SPLITS)} folds do not fit the time; give a longer --budget."
            say(f"{one.candidate.name} is left out. {one.out}")
            return
        runner.run(one, split)
        if one.out:
            say(f"{one.candidate.name} is left out. {one.out}")
            return
    say(f"{one.candidate.name}: {one.mae:.2f} cells off on average.")


def _race(
    runner: Runner,
    raced: Sequence[CandidateResults],
    first: int,
    units: Units,
    deadline: float,
    say: Callable[[str], None],
) -> None:
    """Train the networks, `raced[first:]`, fold by fold; drop those that are clearly worse."""
    networks = list(raced[first:])
    for split in SPLITS:
        for place, one in enumerate(networks):
            if one.out:
                continue
            left_s = deadline - time.monotonic()
            if one.budget_s is None:
                # Time is reserved for the further folds of the networks before it.
                owed = sum((other.budget_s or 0) * (len(SPLITS) - 1)
                           for other in networks[:place] if not other.out)  # fmt: skip
                alone = (left_s - owed) / len(SPLITS)
                # An equal share, or `_WORTHWHILE_S` if more: earlier networks have priority.
                share = max(alone / (len(networks) - place), min(alone, _WORTHWHILE_S))
                if share < _LEAST_FOLD_S:
                    one.out = "There is no time left for it; give a longer --budget."
                    continue
                one.budget_s = float(round(share))
            elif left_s < one.budget_s / 2:
                one.out = "There was no time for its other folds; give a longer --budget."
                continue
            runner.run(one, split)
            if one.out:
                say(f"{one.candidate.name} is left out. {one.out}")
                continue
            say(f"{one.candidate.name}, fold {split + 1} of {len(SPLITS)}: {one.mae:.2f} cells off "
                "on average so far.")  # fmt: skip
            best = min((r for r in raced if not r.out), key=lambda r: _shared_mae(r, one))
            if split + 1 >= _BEFORE_GIVING_UP and clearly_worse(
                one.errors, best.errors, units, one.cells
            ):
                one.out = (
                    f"Clearly worse than {best.candidate.name} after {split + 1} of "
                    f"{len(SPLITS)} folds."
                )
                say(f"{one.candidate.name} is given up. {one.out}")


def _shared_mae(one: CandidateResults, other: CandidateResults) -> float:
    """Return a method's MAE on the tested pictures of another; infinite if it lacks one."""
    mine, wanted = one.errors, other.errors
    shared = [mine[i] for i in wanted if i in mine]
    return float(np.mean(shared)) if len(shared) == len(wanted) else np.inf


def _curve(runner: Runner, chosen: CandidateResults, deadline: float) -> list[tuple[float, float]]:
    """Measure the learning curve: MAE with half and with all training pictures of some folds.

    Returns:
        (mean number of training pictures, MAE) of both; empty if there is no time for it, or a
        training fails.
    """
    trial = replace(chosen, halved=[], half_sizes=[])
    cost = float(np.mean(chosen.seconds))
    for split in SPLITS:
        if split >= _BEFORE_GIVING_UP and time.monotonic() + cost > deadline:
            break
        if split == 0 and time.monotonic() + _BEFORE_GIVING_UP * cost > deadline:
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
