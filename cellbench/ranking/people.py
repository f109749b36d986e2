"""Differences between people who counted the same images of a set, as rows of its table.

A set made from counts that several people corrected keeps the counts of each. Its tables show one
row for the people, a level that no method need surpass. It is not ranked, since it is not measured
against the truth.
"""

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from cellbench.files.reading import MAX_SMALL_BYTES, read_json
from cellbench.paths import PEOPLE as PEOPLE_FILE
from cellbench.paths import data_folder
from cellbench.ranking.rows import PEOPLE, Row

_MOST_PEOPLE = 100


def people_rows(datasets: Iterable[str]) -> list[Row]:
    """Build the rows of people for the sets that have their counts, sorted by set.

    Differences of two people's counts of one image are averaged over the pairs who counted it,
    then over images.
    """
    kept = (name for name in sorted(datasets) if (data_folder(name) / PEOPLE_FILE).is_file())
    return [row for name in kept if (row := _row(name)) is not None]


def _row(dataset: str) -> Row | None:
    known = _read(dataset)
    if known is None:
        return None
    people, counts = known
    by_picture = []
    for picture in counts:
        given = [count for count in picture if count is not None]
        if len(given) > 1:
            by_picture.append([a - b for a, b in itertools.combinations(given, 2)])
    if not by_picture:
        return None
    squares = [float(np.mean(np.square(differences))) for differences in by_picture]
    number = len(by_picture)
    return Row(
        method=f"people: {', '.join(people)}",
        method_title="People who counted the same pictures",
        dataset=dataset,
        simulated=False,
        protocol=PEOPLE,
        splits=(),
        seeds=(),
        runs=0,
        mae=float(np.mean([np.mean(np.abs(differences)) for differences in by_picture])),
        rmse=math.sqrt(float(np.mean(squares))),
        selection="people",
        weights="",
        note=f"people, no method: the mean difference of two people's counts, over {number} "
        f"{'picture' if number == 1 else 'pictures'} that both counted; not ranked",
        source="people",
    )


def _read(dataset: str) -> tuple[list[str], list[list[float | None]]] | None:
    """Read the people's names and, per picture, the count of each; None without usable counts."""
    try:
        document: Any = read_json(data_folder(dataset) / PEOPLE_FILE, most=MAX_SMALL_BYTES)
        people, pictures = document["people"], document["pictures"]
        if not 2 <= len(people) <= _MOST_PEOPLE or not all(type(p) is str for p in people):
            return None
        counts = [[None if c is None else float(c) for c in one] for one in pictures.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if any(len(one) != len(people) for one in counts):
        return None
    return people, counts
