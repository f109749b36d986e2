"""Import of records that were made elsewhere: checks, and copies into a store."""

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
    differing_keys,
    find_record,
    parse_record,
    points_name,
    record_name,
    records_folder,
)
from cellbench.records.run_files import RUNS

_MOST_FILES = 100_000
_PASSED_OVER = {RUNS, "grids"}


class Outcome(Enum):
    """Outcome of the import of a record."""

    ADDED = "added"
    PRESENT = "already there"
    CLASH = "another result of the same run is there"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Contribution:
    """Record file with the outcome of its import.

    Attributes:
        file: the file that was read.
        outcome: see `Outcome`.
        reason: why it was refused, or what clashes; empty otherwise.
        target: the record's file in the store; None if it was refused.
    """

    file: Path
    outcome: Outcome
    reason: str = ""
    target: Path | None = None


def add_records(store: Path, source: Path, *, dry_run: bool = False) -> Iterator[Contribution]:
    """Check every record below a folder, and copy those that are valid and new.

    Records are copied byte by byte, with their points. Folders called `runs` and `grids` are
    skipped: in a store they hold copies of records beside weights, and reports. Nothing is
    overwritten: an equal record of the same run is skipped, and a different result is reported and
    not copied.

    Args:
        store: store to copy to.
        source: folder that is searched recursively.
        dry_run: whether to check only.

    Yields:
        One contribution per JSON file, in the order of their paths, as soon as it is done.

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
        present = None if known is None else parse_record(known)
    except UserError as error:  # the store's own file is damaged; other records are still added
        return Contribution(file, Outcome.REFUSED, str(error))
    if known is not None and present is not None:
        differing = differing_keys(present.raw, record.raw)
        if not differing:
            return Contribution(file, Outcome.PRESENT, target=known)
        maes = f"MAE {present.metrics.mae:.2f} there and {record.metrics.mae:.2f} here"
        return Contribution(file, Outcome.CLASH, f"{file}: {maes}; {known} stays.", known)
    if not dry_run:
        # Points first: a record without its points is damaged, points without a record are not.
        if record.points is not None:
            points = file.with_name(record.points.file)
            write_atomically(target.with_name(points.name), read_file(points, most=FILE.size))
        write_atomically(target, read_file(file, most=FILE.size))
    return Contribution(file, Outcome.ADDED, target=target)


def _place_faults(record: Record, file: Path) -> Iterator[str]:
    """Yield reasons why a record cannot have its place in a store, as phrases for a list.

    File names come with the record: a wrong one could hide it, or replace another record's points.
    """
    name = record_name(record.raw)
    if file.name != f"{name}.json":
        yield f"its file is not called {name}.json"
    elif record.points is not None and record.points.file != points_name(name):
        yield f"its points are not called {points_name(name)}"
    if record.simulated != record.dataset.endswith("-sim"):
        kind = "simulated" if record.simulated else "real"
        yield f"it says that its images are {kind}, which those of {record.dataset!r} are not"
