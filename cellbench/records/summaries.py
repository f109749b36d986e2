"""All records of a store, in the short form that tables and statistics need.

Reading thousands of JSON files takes seconds, so what was read is kept in a cache under the
user's home folder, by file name, time and size. It can be deleted at any time.
"""

import base64
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellbench import paths
from cellbench.errors import UserError
from cellbench.records.caches import read_cache, write_cache
from cellbench.records.hashes import config_hash, is_intact, run_id_of
from cellbench.records.record_file import parse_record, records_folder

if TYPE_CHECKING:
    from cellbench.records.model import Record

# Times of change of a file and of its entry in ns, size in bytes: an edit that puts the first of
# them back still changes the second.
Stamp = tuple[int, int, int]

# Raised when `summarise` changes, so that an older cache is read anew.
_CACHE_FORMAT = 5


@dataclass(frozen=True, slots=True)
class Run:
    """What a record says, without its config, curve and places.

    Attributes:
        file: name of the record within the folder of its set.
        run_id: of the record.
        method: name with the keys that `--set` changed.
        method_title: for people.
        config_hash: of the resolved config.
        recipe: of the method when it ran.
        dataset: name of the set.
        simulated: whether the set is a simulator's.
        manifest_hash: which revision of the set.
        protocol: name.
        split: number.
        seed: number.
        iterations: training steps.
        epochs: the same in passes over the training images.
        weights_source: where the pretrained weights came from.
        weights_sha256: hash of their file; None without.
        weights_missed: whether a file was wanted and random filters took its place.
        parameters: of the method.
        gflops: of one image; None where unknown.
        metrics: the numbers of `metrics` (no lists).
        train_s: seconds of training; None where unknown.
        images_per_s: at inference; None where unknown.
        image_ids: of the scored images.
        truth: (N,) annotated counts, in that order.
        prediction: (N,) predicted counts.
        selection: what the weights were chosen on: "val", "last", "train crops".
        budget_s: seconds that the number of steps was fitted to; None where it was set.
        training: a hash of the losses of the training curve; empty where there are none. Two
            trainings from different seeds never share it.
        edited: what was changed after it was written, as the end of a sentence; empty if nothing.
        folder: where the record is; None where that is not known.
    """

    file: str
    run_id: str
    method: str
    method_title: str
    config_hash: str
    recipe: int
    dataset: str
    simulated: bool
    manifest_hash: str
    protocol: str
    split: int
    seed: int
    iterations: int
    epochs: float
    weights_source: str
    weights_sha256: str | None
    weights_missed: bool
    parameters: int
    gflops: float | None
    metrics: dict[str, float | None]
    train_s: float | None
    images_per_s: float | None
    image_ids: tuple[str, ...]
    truth: NDArray[np.float64] = field(compare=False)
    prediction: NDArray[np.float64] = field(compare=False)
    selection: str = ""
    budget_s: float | None = None
    training: str = ""
    edited: str = ""
    folder: Path | None = field(default=None, compare=False)

    @property
    def path(self) -> Path | None:
        """The file of the record, where its folder is known."""
        return None if self.folder is None else self.folder / self.file


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a store holds.

    Attributes:
        runs: sorted by set and file name.
        problems: one sentence for every file that is no usable record, or was edited.
        edited: runs whose records were edited after they were written, or are copies; they
            count nowhere and are shown apart.
    """

    runs: list[Run]
    problems: list[str]
    edited: list[Run] = field(default_factory=list)


def datasets_with_records(store: Path) -> list[str]:
    """Names of the sets that have a folder of records, sorted."""
    try:
        with os.scandir(records_folder(store)) as found:
            return sorted(entry.name for entry in found if entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(records_folder(store), error) from error


def load_records(store: Path, dataset: str | None = None) -> Loaded:
    """Read the records of a store, or of one set.

    Args:
        store: see `cellbench.paths.store`.
        dataset: name of a set; None for all.

    Returns:
        Every usable record. A bad file becomes a problem and takes nothing else with it. Empty
        where there are no records.

    Raises:
        UserError: a folder of records cannot be read.
    """
    names = datasets_with_records(store) if dataset is None else [dataset]
    loaded = [_load_set(store, name) for name in names]
    return Loaded(
        runs=[run for part in loaded for run in part.runs],
        problems=[problem for part in loaded for problem in part.problems],
        edited=[run for part in loaded for run in part.edited],
    )


def summarise(record: "Record", path: Path) -> Run:
    """The short form of a record."""
    schedule = record.config.get("schedule")
    budget = schedule.get("budget_s") if isinstance(schedule, dict) else None
    losses = [row.loss for row in record.curve if row.loss is not None]
    training = hashlib.sha256(repr(losses).encode()).hexdigest()[:16] if losses else ""
    metrics = record.raw["metrics"]
    return Run(
        file=path.name,
        run_id=record.run_id,
        method=record.method,
        method_title=record.method_title,
        config_hash=record.config_hash,
        recipe=record.recipe,
        dataset=record.dataset,
        simulated=record.simulated,
        manifest_hash=record.manifest_hash,
        protocol=record.protocol,
        split=record.split,
        seed=record.seed,
        iterations=record.iterations,
        epochs=record.epochs,
        weights_source=record.weights.source,
        weights_sha256=record.weights.sha256,
        weights_missed=record.weights.wanted is not None,
        parameters=record.parameters,
        gflops=record.gflops,
        metrics={k: v for k, v in metrics.items() if not isinstance(v, list | dict)},
        train_s=record.timing.train_s,
        images_per_s=record.timing.images_per_s,
        image_ids=tuple(image.id for image in record.images),
        truth=np.array([image.truth for image in record.images]),
        prediction=np.array([image.prediction for image in record.images]),
        selection=record.selection.rule,
        budget_s=budget if type(budget) in (int, float) else None,
        training=training,
        edited=_edited(record),
        folder=path.parent,
    )


def _edited(record: "Record") -> str:
    """What shows that a record does not hold what was written."""
    if not is_intact(record.raw):
        return "was edited after it was written (its content hash does not fit)"
    if config_hash(record.config) != record.config_hash:
        return "was edited after it was written (its config hash does not fit)"
    if run_id_of(record.raw) != record.run_id:
        return "was edited after it was written (its run id does not follow from it)"
    return ""


def _copies(runs: Iterable[Run]) -> dict[str, str]:
    """Files that repeat another's run, with how that shows: a copy is no second seed."""
    ids: dict[str, Run] = {}
    trainings: dict[tuple[Any, ...], Run] = {}
    found = {}
    # The file that is named after its run is the first one.
    for run in sorted(runs, key=lambda r: (not r.file.endswith(f"-{r.run_id[:16]}.json"), r.file)):
        first = ids.setdefault(run.run_id, run)
        if first is not run:
            found[run.file] = f"is a copy of {first.file}"
            continue
        if not run.training:
            continue
        key = (run.training, run.method, run.split, run.prediction.tobytes())
        first = trainings.setdefault(key, run)
        if first.seed != run.seed:
            found[run.file] = (
                f"has the losses and predictions of {first.file} to the last digit, which another "
                "seed never gives"
            )
    return found


def _load_set(store: Path, dataset: str) -> Loaded:
    folder = records_folder(store) / dataset
    files = record_stamps(folder)
    if not files:
        return Loaded([], [])
    cache = cache_file(folder)
    known = _read_cache(cache, folder)
    runs: dict[str, Run] = {}
    problems = []
    for name, stamp in files.items():
        if name in known and known[name][0] == stamp:
            runs[name] = known[name][1]
            continue
        try:
            run = summarise(parse_record(folder / name), folder / name)
            check_place(run, folder)
            runs[name] = run
        except UserError as error:
            problems.append(str(error))
    copies = _copies(run for run in runs.values() if not run.edited)
    edited = [
        replace(run, edited=copies.get(name, run.edited))
        for name, run in runs.items()
        if run.edited or name in copies
    ]
    problems += [
        f"The record {folder / run.file} {run.edited}; restore it from version control, or delete "
        "it and run again."
        for run in edited
    ]
    if {name: files[name] for name in runs} != {name: stamp for name, (stamp, _) in known.items()}:
        _write_cache(cache, {name: (files[name], run) for name, run in runs.items()})
    apart = {run.file for run in edited}
    return Loaded([run for run in runs.values() if run.file not in apart], problems, edited)


def check_place(run: Run, folder: Path) -> None:
    """A record in another set's folder, or a simulated one among real ones, counts nowhere.

    Raises:
        UserError: it is one of these.
    """
    dataset, path = folder.name, folder / run.file
    if run.dataset != dataset:
        raise UserError(
            f"The record {path} is of the set {run.dataset!r} but lies in the folder of "
            f"{dataset!r}; move it."
        )
    if run.simulated != dataset.endswith("-sim"):
        kind = "simulated" if run.simulated else "real"
        raise UserError(
            f"The record {path} says that its images are {kind}, which those of {dataset!r} "
            "are not; delete it and run again."
        )


def record_stamps(folder: Path) -> dict[str, Stamp]:
    """Time and size of every record file of a folder, sorted by name."""
    stamps = {}
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    stamps[entry.name] = _stamp(entry)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _unreadable(folder, error) from error
    return dict(sorted(stamps.items()))


def _stamp(entry: "os.DirEntry[str]") -> Stamp:
    try:
        status = entry.stat()
    except OSError:  # a link that leads nowhere: reading it says so
        return 0, 0, 0
    return status.st_mtime_ns, status.st_size, status.st_ctime_ns


def cache_file(folder: Path, kind: str = "records") -> Path:
    """Where something is kept that was made from a folder."""
    place = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return paths.home() / "cache" / f"{kind}-{place}.json"


# What the cache holds of a run as it is; the rest is packed.
_PACKED = ("metrics", "image_ids", "truth", "prediction", "folder")
_PLAIN = tuple(f.name for f in fields(Run) if f.name not in _PACKED)


def _write_cache(path: Path, runs: dict[str, tuple[Stamp, Run]]) -> None:
    """Keep the runs; lists that many share, of images and of metrics, are kept once."""
    shared: dict[str, dict[tuple[str, ...], int]] = {"image_ids": {}, "metrics": {}}
    entries = []
    for stamp, run in runs.values():
        counts = np.concatenate([run.truth, run.prediction]).astype("<f8").tobytes()
        ids, keys = shared["image_ids"], shared["metrics"]
        entries.append(
            [
                list(stamp),
                [getattr(run, name) for name in _PLAIN],
                keys.setdefault(tuple(run.metrics), len(keys)),
                list(run.metrics.values()),
                ids.setdefault(run.image_ids, len(ids)),
                base64.b64encode(counts).decode("ascii"),
            ]
        )
    document = {"format": _CACHE_FORMAT, "fields": _PLAIN, "runs": entries}
    document |= {name: list(lists) for name, lists in shared.items()}
    write_cache(path, document)


def _read_cache(path: Path, folder: Path | None = None) -> dict[str, tuple[Stamp, Run]]:
    """Runs by file name with the stamps of their files; empty if the cache is not usable."""
    document = read_cache(path)
    try:
        if (
            document is None
            or document["format"] != _CACHE_FORMAT
            or tuple(document["fields"]) != _PLAIN
        ):
            return {}
        image_ids = [tuple(names) for names in document["image_ids"]]
        known = {}
        for stamp, plain, keys, values, ids, counts in document["runs"]:
            truth, prediction = np.frombuffer(base64.b64decode(counts), "<f8").reshape(2, -1)
            run = Run(
                **dict(zip(_PLAIN, plain, strict=True)),
                metrics=dict(zip(document["metrics"][keys], values, strict=True)),
                image_ids=image_ids[ids],
                truth=truth,
                prediction=prediction,
                folder=folder,
            )
            known[run.file] = (tuple(stamp), run)
        return known
    except (ValueError, KeyError, TypeError, IndexError):  # of another version
        return {}


def _unreadable(folder: Path, error: OSError) -> UserError:
    reason = (error.strerror or str(error)).lower()
    return UserError(
        f"The records in {folder} cannot be read ({reason}); name another folder with --store."
    )
