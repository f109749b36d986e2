"""Request of a run, resolved to config, data set, split and finished record; no torch."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cellbench import paths
from cellbench.config.compose import resolve
from cellbench.config.run_length import with_length
from cellbench.data.resolve import resolve_set
from cellbench.data.splits import Split, find_protocol, make_split
from cellbench.data.stored_set import StoredSet
from cellbench.experiment import Experiment
from cellbench.files.writing import write_atomically
from cellbench.records.finished import FinishedRuns
from cellbench.records.record_file import read_record, records_folder
from cellbench.records.run_files import PLAN, RECORD, WEIGHTS
from cellbench.records.trained_runs import weights_match_record


@dataclass(frozen=True, slots=True)
class Request:
    """Arguments of `cellbench run`.

    Attributes:
        config: name or path.
        dataset: replaces the config's set.
        split: 0 to 4.
        seed: of all random numbers.
        epochs: replaces the config's.
        budget_s: wall-clock seconds to fit the schedule to.
        device: "auto", "cpu", "cuda", ...
        protocol: name.
        overrides: texts of `--set`.
        strict: fail where the real set is missing, instead of using its simulator.
        no_test: leave the test part unread and write no record.
        resume: resume an interrupted run; False starts over.
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
    """Result of a run: its record, folder and validation error.

    Attributes:
        folder: of the run.
        validation_mae: of the kept weights; None without validation.
        record: None with `no_test`, and in processes other than the first.
        record_file: path of the record.
        pictures: paths of the pictures of test images.
        fresh: False if the record existed before.
    """

    folder: Path
    validation_mae: float | None
    record: dict[str, Any] | None = None
    record_file: Path | None = None
    pictures: list[Path] = field(default_factory=list)
    fresh: bool = True


@dataclass(frozen=True)
class ResolvedRun:
    """A request resolved to its config, data set and split.

    Attributes:
        request: of the user.
        experiment: identity of the run, as yet without weights and steps.
        stored: the data set.
        split: image ids of its parts.
        store: folder of `runs/` and `leaderboards/`.
    """

    request: Request
    experiment: Experiment
    stored: StoredSet
    split: Split
    store: Path


def resolve_run(request: Request, say: Callable[[str], None]) -> ResolvedRun:
    """Resolve the config, data set and split of a request.

    Args:
        request: of the user.
        say: receives a sentence where a set is downloaded or simulated.

    Raises:
        UserError: config, length, set, protocol or split is invalid or unavailable.
    """
    find_protocol(request.protocol)
    config = resolve(request.config, dataset=request.dataset, overrides=request.overrides)
    config = with_length(config, epochs=request.epochs, budget_s=request.budget_s)
    stored = resolve_set(config.data.set, strict=request.strict, say=say)
    config = replace(config, data=replace(config.data, set=stored.name))
    return ResolvedRun(
        request=request,
        experiment=Experiment(
            config, stored.manifest_hash, request.protocol, request.split, request.seed
        ),
        stored=stored,
        split=make_split(stored, protocol=request.protocol, split=request.split),
        store=paths.store(request.store),
    )


def find_finished(found: ResolvedRun) -> Outcome | None:
    """Return the outcome of a run whose record exists; None where the run must be started.

    Stricter than `FinishedRuns`: it must be started, even with a record, where its starting weights
    are not among the files of this machine, and where its budget has not fixed the number of steps
    here. `run_prepared` then looks the record up by the run id.
    """
    request = found.request
    if request.no_test:
        return None
    finished = FinishedRuns(found.store, [])
    run = finished.update(found.stored.name, found.experiment.key)
    if run is None:
        return None
    file = records_folder(found.store) / run.dataset / run.file
    record = read_record(file)
    sha256 = record["weights"]["sha256"]
    if sha256 is None and record["weights"].get("wanted") is not None:
        return None  # which file it would start from is known once the network is built
    if sha256 is not None and sha256 not in finished.weights_files.values():
        return None
    folder = replace(found.experiment, weights=sha256).folder(found.store)
    if found.experiment.config.schedule.budget_s is not None:
        planned = request.resume and (folder / PLAN).is_file()
        if not planned or not weights_match_record(folder / WEIGHTS, record):
            return None
    return finished_outcome(record, file, folder)


def finished_outcome(record: dict[str, Any], file: Path, folder: Path) -> Outcome:
    """Return the outcome of a finished run, and copy its record to the run's folder.

    Args:
        record: as it was read.
        file: of the record.
        folder: of the run.
    """
    copy_record(record, file, folder)
    pictures = sorted((folder / "pictures").glob("*.png"))
    mae = record["selection"]["validation_mae"]
    return Outcome(folder, mae, record, file, pictures, fresh=False)


def copy_record(record: dict[str, Any], file: Path, folder: Path) -> None:
    """Copy a record beside the matching weights of its run: `cellbench count` reads both."""
    if weights_match_record(folder / WEIGHTS, record):
        write_atomically(folder / RECORD, file.read_bytes())
