"""Cross-validation of methods on a set: each fold trains once and scores held-out pictures."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cellbench.config.compose import resolve
from cellbench.data.splits import FOLDS, HALF, make_split
from cellbench.data.stored_set import open_set
from cellbench.engine.request import Request
from cellbench.engine.work_progress import Display
from cellbench.errors import RunError, UserError, is_out_of_memory
from cellbench.recommending.candidates import Candidate
from cellbench.recommending.evidence import absolute_errors


@dataclass
class CandidateResults:
    """Method with the results of its folds so far.

    Attributes:
        candidate: the method.
        budget_s: time budget of its first training; None before, and if it is not trained.
        epochs: epochs that fitted this budget, used for all further trainings; None before.
        images: test images of the folds: dicts with id, truth and prediction.
        folders: folders of the runs, in the order of the folds.
        seconds: duration of each fold, scoring included.
        train_sizes: number of training pictures of each fold.
        halved: as `images`, of trainings on half of the pictures.
        half_sizes: number of training pictures of each of these.
        needs_s: estimated time from the start of the command to the end of its folds, if these did
            not fit in the budget.
        out: why it was dropped; empty if it was not.
    """

    candidate: Candidate
    budget_s: float | None = None
    epochs: int | None = None
    images: list[dict[str, Any]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    train_sizes: list[int] = field(default_factory=list)
    halved: list[dict[str, Any]] = field(default_factory=list)
    half_sizes: list[int] = field(default_factory=list)
    needs_s: float = 0.0
    out: str = ""

    @property
    def errors(self) -> dict[str, float]:
        """Absolute error of each tested picture, by id."""
        return absolute_errors(self.images)

    @property
    def cells(self) -> dict[str, float]:
        """Annotated cells of each tested picture, by id."""
        return {str(image["id"]): float(image["truth"]) for image in self.images}

    @property
    def mae(self) -> float:
        """Mean absolute error over the tested pictures; infinite if there are none."""
        return float(np.mean(list(self.errors.values()))) if self.images else np.inf


class Runner(Protocol):
    """Interface that runs one fold of a method and adds its results to a `CandidateResults`."""

    def run(self, raced: CandidateResults, split: int, *, half: bool = False) -> None:
        """See `FoldRunner.run`."""


@dataclass(frozen=True, slots=True)
class FoldRunner:
    """Runner of folds of methods that are trained as by `cellbench run`.

    Attributes:
        dataset: name of the set.
        device: "auto", "cpu", "cuda", ...
        store: folder of `runs/`; None for the default.
        say: function that takes the messages of a run.
    """

    dataset: str
    device: str
    store: str | None
    say: Callable[[str], None]

    def run(self, raced: CandidateResults, split: int, *, half: bool = False) -> None:
        """Train on a fold, score its test part, and add the results to `raced`.

        If the method cannot be trained in its budget, or fails, the reason is set in `raced.out`.

        Args:
            raced: the method.
            split: index of the fold.
            half: train on half of the pictures, for the learning curve.
        """
        from cellbench.engine.run import run

        started = time.monotonic()
        request = Request(
            config=raced.candidate.config,
            dataset=self.dataset,
            overrides=exposures(raced.candidate, self.dataset),
            split=split,
            # The first fold fixes the epochs of all, so that a busy machine later has no effect.
            budget_s=raced.budget_s if raced.epochs is None else None,
            epochs=raced.epochs,
            device=self.device,
            protocol=HALF if half else FOLDS,
            strict=True,
            store=self.store,
        )
        try:
            outcome = run(request, Display(say=self.say), started=started)
        except (UserError, RunError) as error:
            raced.out = str(error)
            return
        except (RuntimeError, MemoryError) as error:  # raised by PyTorch, and by Python
            if not is_out_of_memory(error):
                raise
            raced.out = "The memory of this machine does not suffice for it."
            return
        record = outcome.record or {}
        stored = open_set(self.dataset)
        size = len(make_split(stored, protocol=request.protocol, split=split).train)
        if half:
            raced.halved += record["images"]
            raced.half_sizes.append(size)
            return
        if raced.candidate.trained and raced.epochs is None:
            raced.epochs = max(1, round(record["epochs"]))
        raced.images += record["images"]
        raced.folders.append(outcome.folder)
        # A fold that an earlier call finished or began took longer than this call.
        timing = record["timing"]
        raced.seconds.append(max(time.monotonic() - started, timing["train_s"] + timing["test_s"]))
        raced.train_sizes.append(size)


def exposures(candidate: Candidate, dataset: str) -> tuple[str, ...]:
    """Return the config overrides that replace colour jitter by exposure jitter.

    A few pictures show few of the contrasts and background levels that others have; colour jitter
    changes them only by a fifth or so.

    Args:
        candidate: the method.
        dataset: name of the set, whose config lists the augmentations.

    Returns:
        Overrides as `--set` takes them; empty if nothing is replaced.
    """
    if not candidate.exposures:
        return ()
    steps = resolve(candidate.config, dataset=dataset).data.augment
    return tuple(
        f"data.augment.{place}.type=ExposureJitter"
        for place, step in enumerate(steps)
        if step["type"] == "ColourJitter"
    )
