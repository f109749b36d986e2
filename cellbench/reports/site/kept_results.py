"""Cached results of a dataset that take seconds to compute, kept between builds."""

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from cellbench.ranking.paired_tests import Comparison, compare_pairs
from cellbench.ranking.ranks import rank_runs
from cellbench.ranking.rows import Row
from cellbench.records.model import Record
from cellbench.records.result_cache import read_results, write_results
from cellbench.records.summaries import Run
from cellbench.reports.effects import Change, Effect, Levels, grid_effects
from cellbench.reports.f1_curves import mean_f1_curve
from cellbench.reports.site.charts import SERIES
from cellbench.reports.site.ranked_tables import Experiment, SetTable, records_of, run_stamp

_T = TypeVar("_T")
_CODE = [
    *Path(rank_runs.__code__.co_filename).parent.glob("*.py"),
    Path(grid_effects.__code__.co_filename),
    Path(__file__),
]


def pairs_of(table: SetTable, experiments: Sequence[Experiment]) -> list[Comparison]:
    """Compare all pairs of some experiments of a table; see `compare_pairs`."""
    from cellbench.ranking.statistics import image_errors

    runs = [experiment.runs for experiment in experiments]
    return _cached(
        f"pairs of {table.folder}",
        [run for own in runs for run in own],
        compute=lambda: compare_pairs(image_errors(runs)),
        pack=lambda pairs: [asdict(pair) for pair in pairs],
        unpack=lambda values: [Comparison(**value) for value in values],
    )


def effects_of(
    table: SetTable, method: str, cells: Sequence[Levels], experiments: Sequence[Experiment]
) -> list[Effect]:
    """Estimate the averaged effects of a method's parts; see `grid_effects`.

    Args:
        table: table of the dataset.
        method: name of the method without overrides.
        cells: levels of each experiment.
        experiments: variants of the method.
    """
    from cellbench.ranking.statistics import image_errors

    runs = [experiment.runs for experiment in experiments]
    return _cached(
        f"effects of {method} on {table.folder}",
        [run for own in runs for run in own],
        compute=lambda: [e for e in grid_effects(cells, image_errors(runs)) if not e.within],
        pack=lambda effects: [asdict(effect) for effect in effects],
        unpack=lambda values: [_effect(value) for value in values],
    )


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """Facts from the records of an experiment that its page shows, besides their counts.

    Attributes:
        config: config of the first record, as indented JSON.
        parts: role, name and distribution of each part in the first record.
        losses: name and (step, loss) points of the first runs.
        checks: name and (step, validation MAE) points of the first runs.
        f1: mean F1 by match radius in px.
    """

    config: str
    parts: list[tuple[str, str, str]]
    losses: list[tuple[str, list[tuple[float, float]]]]
    checks: list[tuple[str, list[tuple[float, float]]]]
    f1: list[tuple[float, float]]


def facts_of(table: SetTable, experiment: Experiment) -> RecordFacts | None:
    """Read the facts of an experiment from its records; None if none of them can be read."""
    return _cached(
        f"records of {experiment.slug} on {table.folder}",
        experiment.runs,
        compute=lambda: _facts(records_of(experiment.runs)),
        pack=lambda facts: None if facts is None else asdict(facts),
        unpack=lambda values: None if values is None else RecordFacts(**values),
    )


def _facts(records: Sequence[Record]) -> RecordFacts | None:
    if not records:
        return None
    losses, checks = (
        [
            (
                f"split {record.split}, seed {record.seed}",
                [
                    (float(point.step), float(getattr(point, key)))
                    for point in record.curve
                    if point.step is not None and getattr(point, key) is not None
                ],
            )
            for record in records[:SERIES]
        ]
        for key in ("loss", "validation_mae")
    )
    first = records[0]
    return RecordFacts(
        config=json.dumps(first.config, indent=1, ensure_ascii=False),
        parts=[(p.role or "", p.name or "", p.distribution or "elsewhere") for p in first.plugins],
        losses=losses,
        checks=checks,
        f1=mean_f1_curve(records),
    )


def _effect(value: dict[str, Any]) -> Effect:
    changes = tuple(Change(**change) for change in value["changes"])
    return Effect(**(value | {"changes": changes, "within": ()}))


def rows_by_split(dataset: str, runs: Sequence[Run]) -> dict[int, list[Row]]:
    """Rank the runs of every single split of a dataset; empty if all runs are of one split."""
    runs = sorted(runs, key=lambda run: run.split)
    parts = {split: list(own) for split, own in itertools.groupby(runs, key=lambda run: run.split)}
    if len(parts) < 2:
        return {}
    return {
        split: _cached(
            f"split {split} of {dataset}",
            own,
            compute=lambda own=own: rank_runs(own),  # type: ignore[misc]
            pack=lambda rows: [asdict(row) for row in rows],
            unpack=lambda values: [_row(value) for value in values],
        )
        for split, own in parts.items()
    }


def _row(value: dict[str, Any]) -> Row:
    return Row(**(value | {name: tuple(value[name]) for name in ("splits", "seeds", "run_ids")}))


def _cached(
    name: str,
    runs: Sequence[Run],
    *,
    compute: Callable[[], _T],
    pack: Callable[[_T], Any],
    unpack: Callable[[Any], _T],
) -> _T:
    """Return a result from the cache if it is of the same runs and code, else compute it."""
    if not runs or runs[0].folder is None:
        return compute()
    folder = runs[0].folder.resolve()
    code = sorted((path.name, path.stat().st_mtime_ns) for path in _CODE)
    names = [
        [field.name for field in fields(kind)] for kind in (Row, Comparison, Effect, RecordFacts)
    ]
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
