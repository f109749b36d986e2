"""What takes seconds to compute of a set, kept in the cache of results between builds."""

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from cellbench.ranking.paired_tests import Comparison, compare_pairs
from cellbench.ranking.ranks import rank_runs
from cellbench.ranking.rows import Row
from cellbench.records.result_cache import read_results, write_results
from cellbench.records.summaries import Run
from cellbench.reports.effects import Change, Effect, Levels, grid_effects
from cellbench.reports.site.ranked_tables import Experiment, SetTable, run_stamp

_T = TypeVar("_T")
_CODE = [
    *Path(rank_runs.__code__.co_filename).parent.glob("*.py"),
    Path(grid_effects.__code__.co_filename),
    Path(__file__),
]


def pairs_of(table: SetTable, experiments: Sequence[Experiment]) -> list[Comparison]:
    """Compare the first ranked experiments of a table, see `compare_pairs`."""
    from cellbench.ranking.statistics import image_errors

    runs = [experiment.runs for experiment in experiments]
    return _kept(
        f"pairs of {table.folder}",
        [run for own in runs for run in own],
        compute=lambda: compare_pairs(image_errors(runs)),
        pack=lambda pairs: [asdict(pair) for pair in pairs],
        unpack=lambda values: [Comparison(**value) for value in values],
    )


def effects_of(
    table: SetTable, method: str, cells: Sequence[Levels], experiments: Sequence[Experiment]
) -> list[Effect]:
    """The effects of a method's parts, averaged over the others, see `grid_effects`.

    Args:
        table: of the set.
        method: name without overrides.
        cells: levels of each experiment.
        experiments: variants of the method.
    """
    from cellbench.ranking.statistics import image_errors

    runs = [experiment.runs for experiment in experiments]
    return _kept(
        f"effects of {method} on {table.folder}",
        [run for own in runs for run in own],
        compute=lambda: [e for e in grid_effects(cells, image_errors(runs)) if not e.within],
        pack=lambda effects: [asdict(effect) for effect in effects],
        unpack=lambda values: [_effect(value) for value in values],
    )


def _effect(value: dict[str, Any]) -> Effect:
    changes = tuple(Change(**change) for change in value["changes"])
    return Effect(**(value | {"changes": changes, "within": ()}))


def rows_by_split(dataset: str, runs: Sequence[Run]) -> dict[int, list[Row]]:
    """The leaderboard of every single split of a set; empty where all runs are of one."""
    runs = sorted(runs, key=lambda run: run.split)
    parts = {split: list(own) for split, own in itertools.groupby(runs, key=lambda run: run.split)}
    if len(parts) < 2:
        return {}
    return {
        split: _kept(
            f"split {split} of {dataset}",
            own,
            compute=lambda own=own: rank_runs(own),  # type: ignore[misc]
            pack=lambda rows: [asdict(row) for row in rows],
            unpack=lambda values: [_row(value) for value in values],
        )
        for split, own in parts.items()
    }


def _row(value: dict[str, Any]) -> Row:
    return Row(**(value | {name: tuple(value[name]) for name in ("splits", "seeds")}))


def _kept(
    name: str,
    runs: Sequence[Run],
    *,
    compute: Callable[[], _T],
    pack: Callable[[_T], Any],
    unpack: Callable[[Any], _T],
) -> _T:
    """A result, from the cache where it was computed of the same runs by the same code."""
    if not runs or runs[0].folder is None:
        return compute()
    folder = runs[0].folder.resolve()
    code = sorted((path.name, path.stat().st_mtime_ns) for path in _CODE)
    names = [[field.name for field in fields(kind)] for kind in (Row, Comparison, Effect)]
    known = [(run.file, run_stamp(run)) for run in runs]
    stamp = hashlib.sha256(repr((code, names, known)).encode("utf-8", "surrogatepass")).hexdigest()
    kind = f"site, {name}"
    kept = read_results(kind, folder).get("")
    if kept is not None and kept[0] == stamp:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            return unpack(json.loads(kept[1]))
    found = compute()
    write_results(kind, folder, {"": (stamp, json.dumps(pack(found)).encode("ascii"))})
    return found
