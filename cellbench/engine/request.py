"""What a user asks of a run, and everything that it names, found."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cellbench import paths
from cellbench.config.compose import resolve
from cellbench.config.run_length import with_length
from cellbench.config.schema import ResolvedConfig
from cellbench.data.resolve import resolve_set
from cellbench.data.splits import Split, find_protocol, make_split
from cellbench.data.stored_set import StoredSet
from cellbench.engine.devices import (
    Processes,
    choose_device,
    choose_precision,
    join_processes,
)
from cellbench.records.trained_runs import run_folder


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
        workers: loader processes; None chooses by device and cores.
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
    workers: int | None = None
    store: str | None = None


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
    """A request with everything it names found.

    Attributes:
        fold: see `cellbench.engine.evaluation.infer`; False for what was made before.
    """

    request: Request
    config: ResolvedConfig
    stored: StoredSet
    split: Split
    device: torch.device
    precision: str
    processes: Processes
    store: Path
    fold: bool = True

    def folder(self, weights_sha256: str | None) -> Path:
        """Where the run keeps its log, checkpoints and pictures; see `run_folder`."""
        return run_folder(
            self.store,
            config=self.config,
            dataset=self.stored.name,
            manifest_hash=self.stored.manifest_hash,
            weights_sha256=weights_sha256,
            protocol=self.request.protocol,
            split=self.request.split,
            seed=self.request.seed,
        )


def prepare(request: Request, say: Callable[[str], None]) -> Prepared:
    """Find everything that a request names.

    Raises:
        UserError: config, set, protocol, split or device cannot be had.
    """
    find_protocol(request.protocol)  # a wrong name is told before data are looked for
    config = resolve(request.config, dataset=request.dataset, overrides=request.overrides)
    config = with_length(config, epochs=request.epochs, budget_s=request.budget_s)
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
