"""Selection of the rows that a leaderboard shows, and their division into tables."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from cellbench import paths
from cellbench.errors import UserError
from cellbench.ranking.people import people_rows
from cellbench.ranking.row_cache import ranked_rows
from cellbench.ranking.rows import BESIDE, PROTOCOLS, Row
from cellbench.ranking.tables import plain
from cellbench.records.store import datasets_with_records


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Rows of one set or of all sets with records.

    Attributes:
        stores: folders that hold leaderboards/; tables are written to the first.
        dataset: the requested set; None for all.
        recorded: sets with records.
        rows: shown rows, those of people and of papers last.
        shown: number of shown rows that are of methods in the stores.
        beside: for a requested set without records, numbers from papers, then the rows of its
            simulator.
        left_out: number of rows of the protocol that are not shown because they are not ranked.
        every_row: rows of all protocols, ranked or not, without those of papers.
        problems: one sentence per file that is not a usable record.
    """

    stores: tuple[Path, ...]
    dataset: str | None
    recorded: tuple[str, ...]
    rows: tuple[Row, ...]
    shown: int
    beside: tuple[Row, ...]
    left_out: int
    every_row: tuple[Row, ...]
    problems: tuple[str, ...]


def find_leaderboard(
    dataset: str | None,
    protocol: str | None,
    everything: bool,
    published: bool,
    stores: Sequence[str],
) -> Leaderboard:
    """Rank the records of stores and select the rows to show.

    Args:
        dataset: one set; None for all that have records.
        protocol: one protocol; None for all ranked ones.
        everything: include rows that are not ranked.
        published: include numbers from papers.
        stores: folders that hold leaderboards/, whose records are ranked together; empty for the
            working one.

    Raises:
        UserError: there is no such folder, set or protocol.
    """
    folders, dataset, recorded = find_stored_sets(stores, dataset)
    if protocol is not None and protocol not in PROTOCOLS:
        raise UserError(f"There is no protocol {protocol!r}; known are {', '.join(PROTOCOLS)}.")
    rows, problems = ranked_rows(folders[0], dataset, others=folders[1:])
    requested = [row for row in rows if protocol is None or row.protocol == protocol]
    shown = [row for row in requested if everything or row.listed or protocol is not None]
    papers: list[Row] = []
    beside: list[Row] = []
    if published:
        papers = _paper_rows(folders[0], {dataset} if dataset else {row.dataset for row in rows})
    if dataset is not None and not rows:
        beside = [*papers] or _paper_rows(folders[0], {dataset})
        simulator = f"{dataset}-sim"
        if simulator in recorded:
            simulated, _ = ranked_rows(folders[0], simulator, others=folders[1:])
            beside += [row for row in simulated if row.listed and protocol in (None, row.protocol)]
    return Leaderboard(
        stores=folders,
        dataset=dataset,
        recorded=tuple(recorded),
        rows=(*shown, *people_rows({row.dataset for row in shown}), *papers),
        shown=len(shown),
        beside=tuple(beside),
        left_out=len(requested) - len(shown),
        every_row=tuple(rows),
        problems=tuple(problems),
    )


def pages(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Divide rows into tables, one per set and protocol.

    Args:
        rows: rows of any sets and protocols, sorted by these but for those of people and papers.

    Returns:
        Title and rows of each table, in the order of the rows; empty without rows. Rows of people
        and papers are at the end of the first table of their set. Where a set has no other rows,
        they are a table of their own after the others; before them if there is one such set, as
        the others are then of its simulator.
    """
    ours: list[Row] = []
    below: dict[str, list[Row]] = {}
    for row in rows:
        if row.protocol in BESIDE:
            below.setdefault(row.dataset, []).append(row)
        else:
            ours.append(row)
    tables = []
    for (dataset, protocol), group in groupby(ours, key=lambda row: (row.dataset, row.protocol)):
        title = f"{plain(dataset)}, protocol {plain(protocol)}"
        tables.append((title, [*group, *below.pop(dataset, [])]))
    alone = [(f"{plain(name)}, {below[name][0].protocol}", below[name]) for name in sorted(below)]
    return alone + tables if len(alone) == 1 else tables + alone


def _paper_rows(store: Path, sets: Collection[str]) -> list[Row]:
    """Load the published numbers of some sets as rows; of all sets if `sets` is empty."""
    from cellbench.ranking.published import published_file, read_published
    from cellbench.ranking.rows import published_rows

    numbers = read_published(published_file(store))
    return published_rows(n for n in numbers if n.dataset in sets or not sets)


def find_stored_sets(
    stores: Sequence[str], dataset: str | None
) -> tuple[tuple[Path, ...], str | None, Sequence[str]]:
    """Resolve the folders of stores and the name of a set, and list the sets with records.

    Raises:
        UserError: there is no such folder or set.
    """
    folders = tuple(dict.fromkeys(paths.store(store) for store in (stores or (None,))))
    for folder in folders if stores else ():
        if not folder.is_dir():
            raise UserError(
                f"There is no folder {str(folder)!r}; --store takes one that holds leaderboards/."
            )
    recorded = datasets_with_records(*folders)
    if dataset is None or dataset.casefold() in recorded:
        return folders, dataset and dataset.casefold(), recorded
    from cellbench import plugin_index  # plugins are read only for a set without records
    from cellbench.data.stored_set import own_sets

    known = {e.name for e in plugin_index.entries() if e.role in ("dataset", "simulator")}
    known |= set(own_sets())
    if dataset.casefold() not in known:
        listed = ", ".join(sorted(known | set(recorded)))
        raise UserError(f"There is no data set {dataset!r}; known are {listed}.")
    return folders, dataset.casefold(), recorded
