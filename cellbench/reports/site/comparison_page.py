"""The page of two methods side by side, and of what the parts of a method add."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cellbench.files.writing import safe_id
from cellbench.ranking.paired_tests import Comparison
from cellbench.ranking.rows import base_method
from cellbench.ranking.statistics import image_errors
from cellbench.ranking.tables import plain
from cellbench.reports.effects import Levels
from cellbench.reports.grid_sheets import effects_sheet
from cellbench.reports.site.kept_results import effects_of
from cellbench.reports.site.page_writer import PageWriter
from cellbench.reports.site.ranked_tables import Experiment, SetTable, record_of

MOST_COMPARED = 40
"""Of more ranked methods the first ones are compared; the pairs grow with the square."""


def write_comparison_page(
    writer: PageWriter,
    table: SetTable,
    compared: Sequence[Experiment],
    pairs: Sequence[Comparison],
) -> None:
    """Write compare.html of a set.

    Args:
        writer: of the site.
        table: of the set.
        compared: its first ranked experiments.
        pairs: all pairs of them.
    """
    path = f"{table.folder}/compare.html"
    known = [(e.row.rank, e.row.method, e.slug, e.stamps) for e in compared]
    if writer.is_current(path, (known, len(table.ranked), pairs)):
        return
    errors = image_errors([e.runs for e in compared])
    numbers = [
        [None if value != value else round(value, 4) for value in row]
        for row in errors.absolute.tolist()
    ]
    data = {
        "methods": [f"{e.row.rank}. {plain(e.row.method)}" for e in compared],
        "slugs": [e.slug for e in compared],
        "images": [
            (plain(image_id), safe_id(image_id), float(truth))
            for image_id, truth in zip(errors.image_ids, errors.truth, strict=True)
        ],
        "errors": numbers,
        "pairs": {f"{pair.first},{pair.second}": _shown(pair) for pair in pairs},
    }
    writer.write(
        path,
        "compare.html",
        scripts=("tables.js", "svg.js", "compare.js"),
        data=data,
        table=table,
        word=table.errors.word,
        tested=sum(pair.p is not None for pair in pairs),
        methods=len(compared),
        left=len(table.ranked) - len(compared),
        effects=list(_effects(table, compared)),
    )


def _shown(pair: Comparison) -> tuple[Any, ...]:
    numbers = (pair.difference, pair.low, pair.high)
    rounded = [None if value is None else round(value, 4) for value in numbers]
    return (*rounded, pair.p_holm, pair.reason)


def _effects(table: SetTable, compared: Sequence[Experiment]) -> Iterator[dict[str, Any]]:
    """The effects of the parts in which the variants of a method differ."""
    variants: dict[str, list[Experiment]] = {}
    for experiment in compared:
        variants.setdefault(base_method(experiment.row.method), []).append(experiment)
    for method, own in variants.items():
        cells = _levels(own)
        if cells is None:
            continue
        kept = [cell for cell in cells if cell is not None]
        variant = [e for e, cell in zip(own, cells, strict=True) if cell is not None]
        effects = effects_of(table, method, kept, variant)
        if effects:
            first = ", ".join(f"{factor} {label}" for factor, label in kept[0])
            yield {
                "method": method,
                "cells": len(kept),
                "reference": f"A change starts from {first}.",
                "sheet": effects_sheet(effects),
            }


def _levels(variants: list[Experiment]) -> list[Levels | None] | None:
    """The levels of the registered parts in which variants differ; sorts the variants.

    Returns:
        None where fewer than two variants differ in parts alone. A variant that repeats another's
        levels, or differs in more than parts, has none itself.
    """
    # The variant that is farthest from the method as it is named first: changes start from it.
    variants.sort(key=lambda e: (-len(_keys(e.row.method)), e.row.method))
    keys = sorted({key for e in variants for key in _keys(e.row.method)})
    factors = [key for key in keys if key.endswith(".type")]
    if not factors or len(variants) < 2:
        return None
    found: list[Levels | None] = []
    for experiment in variants:
        path = experiment.runs[0].path
        others = _keys(experiment.row.method) - {*factors}
        levels = None
        if path is not None and not others:
            record = record_of(path)
            config = record.config if record is not None else {}
            levels = tuple((_short(key), _value(config, key)) for key in factors)
        found.append(levels if levels not in found else None)
    return found if sum(cell is not None for cell in found) > 1 else None


def _keys(method: str) -> set[str]:
    """The keys that `--set` changed, from the name of a row."""
    inside = method.partition("[")[2].removesuffix("]")
    return {part.partition("=")[0].strip() for part in inside.split(",") if "=" in part}


def _short(key: str) -> str:
    """Such as "matcher" of `model.matcher.type`."""
    return key.removesuffix(".type").rpartition(".")[2]


def _value(config: Mapping[str, Any], key: str) -> str:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return str(value)
