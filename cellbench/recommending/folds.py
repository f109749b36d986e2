"""Methods raced over the folds of a set: each fold trains once and scores pictures it never saw."""

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
from cellbench.errors import RunError, UserError, lacks_memory
from cellbench.recommending.candidates import Candidate
from cellbench.recommending.evidence import absolute_errors


@dataclass
class Raced:
    """A method and what its folds have left so far.

    Attributes:
        candidate: the method.
        budget_s: of its first training; None before, and where it is not trained.
        epochs: that fitted this time, of every further training; None before.
        images: of the records' test parts: dicts with id, truth and prediction.
        folders: of the runs, in the order of the folds.
        seconds: of each fold, scoring included.
        train_sizes: pictures that each fold trained on.
        halved: the same of trainings on half of the pictures.
        half_sizes: pictures that each of these trained on.
        needs_s: from the start of the command to the end of its folds, where these did not fit the
            time.
        out: why it goes on no further; empty while it does.
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
        """Absolute error of each picture that was tested."""
        return absolute_errors(self.images)

    @property
    def cells(self) -> dict[str, float]:
        """Annotated cells of each picture that was tested."""
        return {str(image["id"]): float(image["truth"]) for image in self.images}

    @property
    def mae(self) -> float:
        """Mean absolute error over the pictures tested; infinite before there is one."""
        return float(np.mean(list(self.errors.values()))) if self.images else np.inf


class Runner(Protocol):
    """Runs one fold of a method, and adds what came of it, or why the method is out."""

    def run(self, raced: Raced, split: int, *, half: bool = False) -> None:
        """See `FoldRunner.run`."""


@dataclass(frozen=True, slots=True)
class FoldRunner:
    """Runs one fold of one method.

    Attributes:
        dataset: name of the set.
        device: "auto", "cpu", "cuda", ...
        store: folder of `runs/`; None for the default.
        say: takes what a run says.
    """

    dataset: str
    device: str
    store: str | None
    say: Callable[[str], None]

    def run(self, raced: Raced, split: int, *, half: bool = False) -> None:
        """Train on a fold, score its test part, and add what came of it.

        A method that cannot be trained in its time, or fails, is out, with the reason.
        """
        from cellbench.engine.run import run

        started = time.monotonic()
        request = Request(
            config=raced.candidate.config,
            dataset=self.dataset,
            overrides=exposures(raced.candidate, self.dataset),
            split=split,
            # The first fold fixes the length for all: a busy moment later changes nothing.
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
        except (RuntimeError, MemoryError) as error:  # of a GPU, and of this process
            if not lacks_memory(error):
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
        # A fold that was finished, or begun, by the same command before took longer than now.
        timing = record["timing"]
        raced.seconds.append(max(time.monotonic() - started, timing["train_s"] + timing["test_s"]))
        raced.train_sizes.append(size)


def exposures(candidate: Candidate, dataset: str) -> tuple[str, ...]:
    """What `--set` changes for a method that sees its training pictures at other exposures.

    A few pictures show few of the contrasts and ground levels that others will have: the jitter of
    colours, a fifth or so, gives way to one of exposures.

    Args:
        candidate: the method.
        dataset: name of the set, whose config augments the crops.
    """
    if not candidate.exposures:
        return ()
    steps = resolve(candidate.config, dataset=dataset).data.augment
    return tuple(
        f"data.augment.{place}.type=ExposureJitter"
        for place, step in enumerate(steps)
        if step["type"] == "ColourJitter"
    )
