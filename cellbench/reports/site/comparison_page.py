"""Comparison page of a dataset: pairs of methods, and effects of the parts of a method."""

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
"""Most ranked methods that are compared, the first ones: pairs grow with the square."""


def write_comparison_page(
    writer: PageWriter,
    table: SetTable,
    compared: Sequence[Experiment],
    pairs: Sequence[Comparison],
) -> None:
    """Write compare.html of a dataset.

    Args:
        writer: page writer of the site.
        table: table of the dataset.
        compared: its first ranked experiments.
        pairs: comparisons of all their pairs.
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
        "pairs": {f"{pair.first},{pair.second}": _pair_data(pair) for pair in pairs},
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


def _pair_data(pair: Comparison) -> tuple[Any, ...]:
    numbers = (pair.difference, pair.low, pair.high)
    rounded = [None if value is None else round(value, 4) for value in numbers]
    return (*rounded, pair.p_holm, pair.reason)


def _effects(table: SetTable, compared: Sequence[Experiment]) -> Iterator[dict[str, Any]]:
    """Yield per method the effects of the parts in which its variants differ."""
    variants: dict[str, list[Experiment]] = {}
    for experiment in compared:
        variants.setdefault(base_method(experiment.row.method), []).append(experiment)
    for method, members in variants.items():
        cells = _levels(members)
        if cells is None:
            continue
        levels = [cell for cell in cells if cell is not None]
        kept = [e for e, cell in zip(members, cells, strict=True) if cell is not None]
        effects = effects_of(table, method, levels, kept)
        if effects:
            first = ", ".join(f"{factor} {label}" for factor, label in levels[0])
            yield {
                "method": method,
                "cells": len(levels),
                "reference": f"A change starts from {first}.",
                "sheet": effects_sheet(effects),
            }


def _levels(variants: list[Experiment]) -> list[Levels | None] | None:
    """Return the levels of the registered parts in which variants differ; sorts the variants.

    Returns:
        One entry per variant, None for a variant that repeats another's levels or differs in more
        than parts; None if fewer than two variants remain.
    """
    # The variant with the most changed keys comes first: its levels are the reference.
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
    """Parse the keys that `--set` changed from the name of a row."""
    inside = method.partition("[")[2].removesuffix("]")
    return {part.partition("=")[0].strip() for part in inside.split(",") if "=" in part}


def _short(key: str) -> str:
    """Return the name of a part, for example "matcher" of `model.matcher.type`."""
    return key.removesuffix(".type").rpartition(".")[2]


def _value(config: Mapping[str, Any], key: str) -> str:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return str(value)
