"""Leaderboard tables of a site: every row with the runs that it averages."""

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

# Most characters of a method's name in the name of its page.
_LONGEST_NAME = 60
# Most records held in memory; one of a hundred images takes a third of a megabyte.
_MOST_RECORDS = 512


@dataclass(frozen=True)
class Experiment:
    """A row of a leaderboard and its runs.

    Attributes:
        row: see `cellbench.ranking.rows`.
        runs: runs that the row averages, by split and seed; empty for an edited or missing record.
    """

    row: Row
    runs: tuple[Run, ...]

    @cached_property
    def slug(self) -> str:
        """Name of its page, constant while method, config, weights and length are the same."""
        row = self.row
        known = (
            row.config_hash, row.recipe, row.weights, row.iterations, row.splits, row.note,
            row.run_ids[:1],  # distinguishes revisions of the dataset and files of weights
        )  # fmt: skip
        digest = hashlib.sha256(repr(known).encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return f"{safe_id(row.method)[:_LONGEST_NAME].strip('.-')}-{digest}"

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """All that pages show of the row; a page is written again only if it changes."""
        row = self.row
        texts = (column.text(row) for column in COLUMNS)
        return (self.slug, self.status, row.method_title, row.note, *texts)

    @cached_property
    def stamps(self) -> tuple[tuple[str, str], ...]:
        """Stamps of its runs, which change when one of its records does."""
        return tuple(run_stamp(run) for run in self.runs)

    @property
    def status(self) -> str:
        """One of "ranked", "partial" and "unranked"."""
        if self.row.rank is not None:
            return "ranked"
        return "partial" if self.row.share is not None else "unranked"


@dataclass(frozen=True)
class SetTable:
    """Leaderboard of one dataset under one protocol.

    Attributes:
        dataset: dataset name.
        protocol: protocol name.
        simulated: whether the images are simulated.
        experiments: in the order of the leaderboard.
    """

    dataset: str
    protocol: str
    simulated: bool
    experiments: tuple[Experiment, ...]

    @property
    def folder(self) -> str:
        """Folder of its pages, below the site's."""
        return f"{self.dataset}/{self.protocol}"

    @cached_property
    def ranked(self) -> tuple[Experiment, ...]:
        """Experiments with a rank."""
        return tuple(e for e in self.experiments if e.row.rank is not None and e.runs)

    @cached_property
    def listed(self) -> tuple[Experiment, ...]:
        """Experiments that tables show by default, the ranked ones first; all if none is listed."""
        found = tuple(e for e in self.experiments if e.row.listed and e.runs)
        return found or tuple(e for e in self.experiments if e.runs)

    @cached_property
    def errors(self) -> ImageErrors:
        """Average errors of the listed experiments, in their order."""
        return image_errors([e.runs for e in self.listed])

    @cached_property
    def ranked_errors(self) -> ImageErrors:
        """Average errors of the ranked experiments, in their order."""
        return image_errors([e.runs for e in self.ranked])


@dataclass(frozen=True)
class Results:
    """Content of a site.

    Attributes:
        tables: tables of all datasets and protocols.
        problems: a sentence for every file that is not a usable record.
        runs: runs by dataset.
    """

    tables: tuple[SetTable, ...]
    problems: tuple[str, ...]
    runs: Mapping[str, Sequence[Run]] = field(repr=False)

    @cached_property
    def methods(self) -> dict[str, list[tuple[SetTable, Experiment]]]:
        """Tables and experiments of every method, by its name without overrides."""
        found: dict[str, list[tuple[SetTable, Experiment]]] = {}
        for table in self.tables:
            for experiment in table.experiments:
                name = base_method(experiment.row.method)
                found.setdefault(name, []).append((table, experiment))
        return dict(sorted(found.items()))


def read_results(stores: Sequence[Path]) -> Results:
    """Read the rows and runs of all datasets of some stores.

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
    """Group rows, each with its runs, into tables by dataset and protocol."""
    by_id = {run.run_id: run for run in runs}
    tables: dict[tuple[str, str, bool], list[Experiment]] = {}
    for row in rows:
        # If a record was deleted while this was read, its row has no image pages.
        found = [by_id[run_id] for run_id in row.run_ids if run_id in by_id]
        whole = tuple(found) if len(found) == row.runs else ()
        key = (row.dataset, row.protocol, row.simulated)
        tables.setdefault(key, []).append(Experiment(row, whole))
    return [SetTable(*key, tuple(experiments)) for key, experiments in tables.items()]


@lru_cache(maxsize=_MOST_RECORDS)
def record_of(path: Path) -> Record | None:
    """Read the record in a file, cached for the build; None if it can no longer be read."""
    try:
        return parse_record(path)
    except UserError:
        return None


def records_of(runs: Iterable[Run]) -> list[Record]:
    """Read the records of some runs, without those that can no longer be read."""
    found = [record_of(run.path) for run in runs if run.path is not None]
    return [record for record in found if record is not None]


def run_stamp(run: Run) -> tuple[str, str]:
    """Return the file of a run's record and a stamp of its times and size, to detect changes."""
    return (run.file, run.stamp)
