"""What the pages of a site show: every row of a leaderboard with the runs that it averages."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path

from cellbench.errors import UserError
from cellbench.files.writing import safe_id
from cellbench.ranking.row_cache import ranked_rows
from cellbench.ranking.rows import Row, base_method
from cellbench.ranking.statistics import ImageErrors, image_errors
from cellbench.ranking.tables import COLUMNS
from cellbench.records.model import Record
from cellbench.records.record_file import parse_record
from cellbench.records.store import datasets_with_records, load_records
from cellbench.records.summaries import Run

# Longest part of a method's name in the name of its page.
_LONGEST_NAME = 60
# That are held in memory at once; one of a hundred images takes a third of a megabyte.
_MOST_RECORDS = 512


@dataclass(frozen=True)
class Experiment:
    """A row of a leaderboard and its runs.

    Attributes:
        row: see `cellbench.ranking.rows`.
        runs: that the row averages, by split and seed; empty where a record was edited.
    """

    row: Row
    runs: tuple[Run, ...]

    @cached_property
    def slug(self) -> str:
        """Name of its page: the same as long as method, config, weights and length are."""
        row = self.row
        known = (
            row.config_hash, row.recipe, row.weights, row.iterations, row.splits, row.note,
            row.run_ids[:1],  # differs with the revision of the set, and the file of the weights
        )  # fmt: skip
        digest = hashlib.sha256(repr(known).encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return f"{safe_id(row.method)[:_LONGEST_NAME].strip('.-')}-{digest}"

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """All that pages show of the row, so that a page is made anew only if it changes."""
        row = self.row
        texts = (column.text(row) for column in COLUMNS)
        return (self.slug, self.status, row.method_title, row.note, *texts)

    @cached_property
    def stamps(self) -> tuple[tuple[str, str], ...]:
        """What changes when one of its records does."""
        return tuple(run_stamp(run) for run in self.runs)

    @property
    def status(self) -> str:
        """One of ranked, partial and unranked."""
        if self.row.rank is not None:
            return "ranked"
        return "partial" if self.row.share is not None else "unranked"


@dataclass(frozen=True)
class SetTable:
    """The experiments on one set under one protocol.

    Attributes:
        dataset: name of the set.
        protocol: name.
        simulated: whether its images are.
        experiments: in the order of the leaderboard.
    """

    dataset: str
    protocol: str
    simulated: bool
    experiments: tuple[Experiment, ...]

    @property
    def folder(self) -> str:
        """Of its pages, below the site's."""
        return f"{self.dataset}/{self.protocol}"

    @cached_property
    def ranked(self) -> tuple[Experiment, ...]:
        """Those that have a rank."""
        return tuple(e for e in self.experiments if e.row.rank is not None and e.runs)

    @cached_property
    def listed(self) -> tuple[Experiment, ...]:
        """Those that tables show unasked, the ranked ones first; all where none is listed."""
        found = tuple(e for e in self.experiments if e.row.listed and e.runs)
        return found or tuple(e for e in self.experiments if e.runs)

    @cached_property
    def errors(self) -> ImageErrors:
        """Of the listed experiments, in their order."""
        return image_errors([e.runs for e in self.listed])

    @cached_property
    def ranked_errors(self) -> ImageErrors:
        """Of the ranked experiments alone."""
        return image_errors([e.runs for e in self.ranked])


@dataclass(frozen=True)
class Results:
    """All that a site shows.

    Attributes:
        tables: of all sets and protocols.
        problems: a sentence for every file that is no usable record.
        runs: of all sets, by set.
    """

    tables: tuple[SetTable, ...]
    problems: tuple[str, ...]
    runs: Mapping[str, Sequence[Run]] = field(repr=False)

    @cached_property
    def methods(self) -> dict[str, list[tuple[SetTable, Experiment]]]:
        """By name without overrides, where each method was measured."""
        found: dict[str, list[tuple[SetTable, Experiment]]] = {}
        for table in self.tables:
            for experiment in table.experiments:
                name = base_method(experiment.row.method)
                found.setdefault(name, []).append((table, experiment))
        return dict(sorted(found.items()))


def read_results(stores: Sequence[Path]) -> Results:
    """Read the rows of all sets of some stores, and their runs.

    Raises:
        UserError: a folder of records cannot be read.
    """
    first, *others = stores
    tables: list[SetTable] = []
    problems: list[str] = []
    runs: dict[str, list[Run]] = {}
    for dataset in datasets_with_records(*stores):
        load = cache(partial(load_records, first, dataset, others=others))
        rows, wrong = ranked_rows(first, dataset, others=others, load=load)
        loaded = load()
        problems += wrong or loaded.problems
        runs[dataset] = loaded.runs
        tables += tables_of(rows, loaded.runs)
    return Results(tuple(tables), tuple(dict.fromkeys(problems)), runs)


def tables_of(rows: Iterable[Row], runs: Iterable[Run]) -> list[SetTable]:
    """Sort rows into tables, each row with its runs."""
    by_id = {run.run_id: run for run in runs}
    tables: dict[tuple[str, str, bool], list[Experiment]] = {}
    for row in rows:
        # Without one of its records, which went while this was read, a row has no pages of images.
        own = [by_id[run_id] for run_id in row.run_ids if run_id in by_id]
        whole = tuple(own) if len(own) == row.runs else ()
        place = (row.dataset, row.protocol, row.simulated)
        tables.setdefault(place, []).append(Experiment(row, whole))
    return [SetTable(*place, tuple(found)) for place, found in tables.items()]


@lru_cache(maxsize=_MOST_RECORDS)
def record_of(path: Path) -> Record | None:
    """The record in a file, read once a build; None where it cannot be read any more."""
    try:
        return parse_record(path)
    except UserError:
        return None


def records_of(runs: Iterable[Run]) -> list[Record]:
    """The records of some runs, without those that cannot be read any more."""
    found = [record_of(run.path) for run in runs if run.path is not None]
    return [record for record in found if record is not None]


def run_stamp(run: Run) -> tuple[str, str]:
    """What changes when the record of a run does: its file, and the times and size of that."""
    return (run.file, run.stamp)
