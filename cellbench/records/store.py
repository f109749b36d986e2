"""Loading of all records of one store or several.

Reading thousands of JSON files takes seconds, so their summaries are kept in the cache of results,
by name, time and size of the file.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cellbench.errors import UserError
from cellbench.records.record_file import parse_record, records_folder
from cellbench.records.result_cache import read_results, write_results
from cellbench.records.summaries import Run, pack_run, summarise, unpack_run

# Raised when `summarise` changes, so that older entries of the cache are not used.
_KIND = "runs 5"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Records loaded from one store or several.

    Attributes:
        runs: sorted by set and file name.
        problems: one sentence per file that is not a usable record, or was edited.
        edited: runs whose records were edited after they were written, or are copies; they are
            not ranked and are shown apart.
    """

    runs: list[Run] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    edited: list[Run] = field(default_factory=list)


def datasets_with_records(*stores: Path) -> list[str]:
    """List the sets that have a folder of records in any of some stores, sorted."""
    names: set[str] = set()
    for store in stores:
        folder = records_folder(store)
        try:
            with os.scandir(folder) as found:
                names.update(entry.name for entry in found if entry.is_dir())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unreadable(folder, error) from error
    return sorted(names)


def load_records(store: Path, dataset: str | None = None, *, others: Sequence[Path] = ()) -> Loaded:
    """Read the records of a store, or of one set in it.

    Args:
        store: see `cellbench.paths.store`.
        dataset: name of a set; None for all.
        others: further stores; a record that several hold counts once.

    Returns:
        Every usable record; an invalid file becomes a problem and affects no other. Empty without
        records.

    Raises:
        UserError: a folder of records cannot be read.
    """
    loaded = Loaded()
    stores = [store, *others]
    for name in datasets_with_records(*stores) if dataset is None else [dataset]:
        found: list[Run] = []
        for place in stores:
            found += _read_folder(records_folder(place) / name, loaded.problems)
        for run in _mark_copies(found):
            if not run.edited:
                loaded.runs.append(run)
                continue
            loaded.edited.append(run)
            loaded.problems.append(
                f"The record {run.path} {run.edited}; restore it from version control, or delete "
                "it and run again."
            )
    return loaded


def _mark_copies(runs: Sequence[Run]) -> list[Run]:
    """Mark runs that copy another as edited: a copy is no second seed.

    Args:
        runs: runs of one set, from one folder or several.

    Returns:
        The runs in their order, without those that another folder holds too, which count once.
    """
    ids: dict[str, Run] = {}
    trainings: dict[tuple[Any, ...], Run] = {}
    repeated: set[tuple[Path | None, str]] = set()
    faults: dict[tuple[Path | None, str], str] = {}
    # A file that is named after its run comes first, as the original.
    for run in sorted(runs, key=lambda r: (not r.file.endswith(f"-{r.run_id[:16]}.json"), r.file)):
        if run.edited:
            continue
        place = run.folder, run.file
        first = ids.setdefault(run.run_id, run)
        if first is run:
            key = (run.training, run.method, run.split, run.prediction.tobytes())
            twin = trainings.setdefault(key, run) if run.training else run
            if twin.seed != run.seed:
                faults[place] = (
                    f"has the losses and predictions of {twin.file} to the last digit, which "
                    "another seed never gives"
                )
        elif first.folder == run.folder:
            faults[place] = f"is a copy of {first.file}"
        elif first == run and first.prediction.tobytes() == run.prediction.tobytes():
            repeated.add(place)
        else:
            faults[place] = f"is another result of the run of {first.path}"
    marked = []
    for run in runs:
        place = run.folder, run.file
        if place in faults:
            run = replace(run, edited=faults[place])
        if place not in repeated:
            marked.append(run)
    return marked


def _read_folder(folder: Path, problems: list[str]) -> list[Run]:
    """Load the usable records of a folder by file name, from the cache where possible."""
    stamps = record_stamps(folder)
    if not stamps:
        return []
    place = folder.resolve()
    kept = read_results(_KIND, place)
    runs: list[Run] = []
    fresh: dict[str, tuple[str, bytes]] = {}
    known: dict[bytes, tuple[str, ...]] = {}
    for name, stamp in stamps.items():
        if name in kept and kept[name][0] == stamp:
            try:
                runs.append(unpack_run(kept[name][1], folder, known, stamp=stamp))
                continue
            except (ValueError, KeyError, TypeError):  # of another version
                pass
        try:
            run = summarise(parse_record(folder / name), folder / name)
            run = replace(run, stamp=stamp)
            check_place(run, folder)
        except UserError as error:
            problems.append(str(error))
            continue
        runs.append(run)
        fresh[name] = stamp, pack_run(run)
    names = [run.file for run in runs]
    if fresh or kept.keys() - names:
        write_results(_KIND, place, fresh, keep=names)
    return runs


def check_place(run: Run, folder: Path) -> None:
    """Refuse a record in another set's folder, or a simulated one among real ones.

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


def record_stamps(folder: Path) -> dict[str, str]:
    """Return modification time, change time and size of every record file, by name, sorted.

    An edit that restores the modification time still alters the change time.
    """
    stamps = {}
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    try:
                        status = entry.stat()
                    except OSError:  # a broken link, which is reported when it is read
                        stamps[entry.name] = ""
                        continue
                    times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
                    stamps[entry.name] = f"{times} {status.st_size}"
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _unreadable(folder, error) from error
    return dict(sorted(stamps.items()))


def _unreadable(folder: Path, error: OSError) -> UserError:
    reason = (error.strerror or str(error)).lower()
    return UserError(
        f"The records in {folder} cannot be read ({reason}); name another folder with --store."
    )
