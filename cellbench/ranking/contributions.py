"""Records that were made elsewhere, checked and copied into a store."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cellbench.data.stored_set import StoredSet, is_on_disk, open_set
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import read_file
from cellbench.files.writing import write_atomically
from cellbench.ranking.audit import record_faults
from cellbench.records.model import Record
from cellbench.records.record_file import (
    find_record,
    parse_record,
    points_name,
    record_name,
    records_folder,
    same_result,
)
from cellbench.records.run_files import RUNS

_MOST_FILES = 100_000
_PASSED_OVER = {RUNS, "grids"}


class Outcome(Enum):
    """What became of a record."""

    ADDED = "added"
    PRESENT = "already there"
    CLASH = "another result of the same run is there"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Contribution:
    """A record file and what became of it.

    Attributes:
        file: that was read.
        outcome: see `Outcome`.
        reason: why it was refused, or what clashes; empty otherwise.
        target: its file in the store; None if it was refused.
    """

    file: Path
    outcome: Outcome
    reason: str = ""
    target: Path | None = None


def add_records(store: Path, source: Path, *, dry_run: bool = False) -> Iterator[Contribution]:
    """Check every record below a folder, and copy those that are sound and new.

    A record is copied byte by byte, with its points. Folders called `runs` and `grids`, as a store
    has them, are passed over: copies of records beside the weights, and reports. Of a run that has
    a record already nothing is overwritten: an equal one is passed over, and another result is
    named and left where it is.

    Args:
        store: that gets the records.
        source: folder that holds them, in any folders below it.
        dry_run: whether to check only.

    Yields:
        One contribution a JSON file, in the order of their paths, as soon as it is done.

    Raises:
        UserError: `source` is no folder or holds no JSON file; the store cannot be written.
    """
    if not source.is_dir():
        raise UserError(f"{source} is no folder; name the one that holds the records.")
    files = [
        path
        for path in sorted(source.rglob("*.json"))
        if not path.is_symlink() and not _PASSED_OVER & set(path.relative_to(source).parts[:-1])
    ]
    if not files or len(files) > _MOST_FILES:
        raise UserError(
            f"{source} holds {len(files)} JSON files outside of runs/ and grids/; a folder of 1 "
            f"to {_MOST_FILES} records is wanted."
        )
    sets: dict[str, StoredSet | None] = {}
    for file in files:
        try:
            record = parse_record(file)
            if record.dataset not in sets:
                there = is_on_disk(record.dataset)
                sets[record.dataset] = open_set(record.dataset) if there else None
        except UserError as error:
            yield Contribution(file, Outcome.REFUSED, str(error))
            continue
        yield _add(store, file, record, sets[record.dataset], dry_run=dry_run)


def _add(
    store: Path, file: Path, record: Record, stored: StoredSet | None, *, dry_run: bool
) -> Contribution:
    faults = list(record_faults(record, file, stored))
    target = records_folder(store) / record.dataset / file.name
    faults += _place_faults(record, file)
    if stored is not None and stored.manifest.own is not None:
        faults.append(f"{record.dataset} is a set of your own, whose records stay where they are")
    if faults:
        return Contribution(file, Outcome.REFUSED, f"{file}: {'; '.join(faults)}.")
    try:
        known = find_record(store, record.run_id)
        own = None if known is None else parse_record(known)
    except UserError as error:  # the store's own file is damaged: the others are taken in
        return Contribution(file, Outcome.REFUSED, str(error))
    if known is not None and own is not None:
        differing = same_result(own.raw, record.raw)
        if not differing:
            return Contribution(file, Outcome.PRESENT, target=known)
        maes = f"MAE {own.metrics.mae:.2f} there and {record.metrics.mae:.2f} here"
        return Contribution(file, Outcome.CLASH, f"{file}: {maes}; {known} stays.", known)
    if not dry_run:
        # The points first: a record whose points are missing is damaged, points alone are not.
        if record.points is not None:
            points = file.with_name(record.points.file)
            write_atomically(target.with_name(points.name), read_file(points, most=FILE.size))
        write_atomically(target, read_file(file, most=FILE.size))
    return Contribution(file, Outcome.ADDED, target=target)


def _place_faults(record: Record, file: Path) -> Iterator[str]:
    """Why a record cannot lie where it would be put, in the words of a list.

    Names come with the record: another one could hide it, or replace another record's points.
    """
    name = record_name(record.raw)
    if file.name != f"{name}.json":
        yield f"its file is not called {name}.json"
    elif record.points is not None and record.points.file != points_name(name):
        yield f"its points are not called {points_name(name)}"
    if record.simulated != record.dataset.endswith("-sim"):
        kind = "simulated" if record.simulated else "real"
        yield f"it says that its images are {kind}, which those of {record.dataset!r} are not"
