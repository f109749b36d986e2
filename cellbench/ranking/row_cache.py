"""Cache of the ranked rows of a store.

Ranking ten thousand records takes seconds, so the rows of a set are in the cache of results, under
a stamp of the files' names, times and sizes and of the code that ranks them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from cellbench.ranking import (
    clusters,
    ranks,
    rows,
    shared_errors,
    shared_ranks,
    statistics,
)
from cellbench.ranking.ranks import rank_runs
from cellbench.ranking.rows import Row
from cellbench.records import store as record_store
from cellbench.records import summaries
from cellbench.records.record_file import records_folder
from cellbench.records.result_cache import read_results, write_results
from cellbench.records.store import Loaded, datasets_with_records, load_records, record_stamps

_CODE = (shared_errors, shared_ranks, clusters, ranks, rows, summaries, record_store, statistics)
_NAMES = tuple(f.name for f in fields(Row))


def ranked_rows(
    store: Path,
    dataset: str | None = None,
    *,
    others: Sequence[Path] = (),
    load: Callable[[], Loaded] | None = None,
) -> tuple[list[Row], list[str]]:
    """Return the ranked rows of all sets with records, or of one.

    Args:
        store: see `cellbench.paths.store`.
        dataset: name of a set; None for all.
        others: further stores, whose records are ranked with the first one's.
        load: reads the records of `dataset`, for callers that use them too.

    Returns:
        The rows of `rank_runs`, and one sentence per file that is not a usable record.

    Raises:
        UserError: a folder of records cannot be read.
    """
    found: list[Row] = []
    problems: list[str] = []
    stores = [store, *others]
    files = [__file__, *(str(module.__file__) for module in _CODE)]
    code = [Path(file).stat().st_mtime_ns for file in files]
    for name in datasets_with_records(*stores) if dataset is None else [dataset]:
        folders = [(records_folder(place) / name).resolve() for place in stores]
        facts = (_NAMES, code, [(str(folder), record_stamps(folder)) for folder in folders])
        stamp = hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()
        kept = read_results("rows", folders[0]).get("")
        if kept is not None and kept[0] == stamp:
            with suppress(ValueError, TypeError, RecursionError):  # an entry that was edited
                found += [
                    Row(**dict(zip(_NAMES, map(_plain, values), strict=True)))
                    for values in json.loads(kept[1])
                ]
                continue
        # Read after the stamp: a record written in between is read again by the next call.
        records = load() if load is not None else load_records(store, name, others=others)
        ranked = rank_runs(records.runs, records.edited)
        found += ranked
        problems += records.problems
        # A file with a problem may be repaired without a change of its time and size.
        if not records.problems:
            table = [[getattr(row, name) for name in _NAMES] for row in ranked]
            content = json.dumps(table).encode("ascii")
            write_results("rows", folders[0], {"": (stamp, content)})
    return found, problems


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
