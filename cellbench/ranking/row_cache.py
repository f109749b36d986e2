"""The rows of a store, kept from one call to the next.

Ranking ten thousand records takes seconds, so the rows of a set are kept beside its records'
cache, under a key of the files' names, times and sizes and of the code that ranks them. It can be
deleted at any time.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from cellbench.ranking import clusters, row_cache, rows, shared_errors, statistics
from cellbench.ranking.rows import Row, rank_runs
from cellbench.records import summaries
from cellbench.records.caches import read_cache, write_cache
from cellbench.records.record_file import records_folder
from cellbench.records.summaries import (
    Stamp,
    cache_file,
    datasets_with_records,
    load_records,
    record_stamps,
)

_CODE = (shared_errors, clusters, rows, row_cache, summaries, statistics)
_NAMES = tuple(field.name for field in fields(Row))
_TUPLES = ("splits", "seeds")


def ranked_rows(store: Path, dataset: str | None = None) -> tuple[list[Row], list[str]]:
    """The rows of all sets with records, or of one.

    Args:
        store: see `cellbench.paths.store`.
        dataset: name of a set; None for all.

    Returns:
        The rows as `rank_runs` gives them, and a sentence for every file that is no usable
        record.

    Raises:
        UserError: a folder of records cannot be read.
    """
    names = datasets_with_records(store) if dataset is None else [dataset]
    rows: list[Row] = []
    problems: list[str] = []
    for name in names:
        folder = records_folder(store) / name
        cache, key = cache_file(folder, "rows"), _key(record_stamps(folder))
        kept = _read(cache, key)
        if kept is None:
            loaded = load_records(store, name)
            kept = rank_runs(loaded.runs, loaded.edited)
            problems += loaded.problems
            # What is wrong with a file may be mended without a trace in its time and size.
            if not loaded.problems:
                _write(cache, key, kept)
        rows += kept
    return rows, problems


def _key(stamps: dict[str, Stamp]) -> str:
    code = [Path(str(module.__file__)).stat().st_mtime_ns for module in _CODE]
    return hashlib.sha256(repr((code, stamps)).encode()).hexdigest()


def _read(cache: Path, key: str) -> list[Row] | None:
    document = read_cache(cache)
    try:
        if document is None or document["key"] != key or tuple(document["names"]) != _NAMES:
            return None
        return [_row(values) for values in document["rows"]]
    except (ValueError, KeyError, TypeError):  # of another version
        return None


def _row(values: Sequence[Any]) -> Row:
    named = dict(zip(_NAMES, values, strict=True))
    for name in _TUPLES:
        named[name] = tuple(named[name])
    return Row(**named)


def _write(cache: Path, key: str, rows: Sequence[Row]) -> None:
    document = {
        "key": key,
        "names": _NAMES,
        "rows": [[getattr(row, name) for name in _NAMES] for row in rows],
    }
    write_cache(cache, document)
