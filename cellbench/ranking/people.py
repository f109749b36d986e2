"""How far people differ who counted the same pictures of a set: what no method need be better than.

A set that was made of counts which several people corrected keeps what each of them counted. In its
tables they are a row of their own, which is not ranked: it has no truth of its own to err from.
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
    """The rows of the people of some sets, by name of the set; none of sets without.

    A difference is that of two people's counts of one picture; it is averaged over the pairs who
    counted the picture, then over pictures.
    """
    kept = (name for name in sorted(datasets) if (data_folder(name) / PEOPLE_FILE).is_file())
    return [row for name in kept if (row := _row(name)) is not None]


def _row(dataset: str) -> Row | None:
    known = _read(dataset)
    if known is None:
        return None
    people, counts = known
    by_picture = []
    for own in counts:
        given = [count for count in own if count is not None]
        if len(given) > 1:
            by_picture.append([a - b for a, b in itertools.combinations(given, 2)])
    if not by_picture:
        return None
    squares = [float(np.mean(np.square(own))) for own in by_picture]
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
        mae=float(np.mean([np.mean(np.abs(own)) for own in by_picture])),
        rmse=math.sqrt(float(np.mean(squares))),
        selection="people",
        weights="",
        note=f"people, no method: the mean difference of two people's counts, over {number} "
        f"{'picture' if number == 1 else 'pictures'} that both counted; not ranked",
        source="people",
    )


def _read(dataset: str) -> tuple[list[str], list[list[float | None]]] | None:
    """The names, and per picture a count of each; None where there is nothing usable."""
    try:
        document: Any = read_json(data_folder(dataset) / PEOPLE_FILE, most=MAX_SMALL_BYTES)
        people, pictures = document["people"], document["pictures"]
        if not 2 <= len(people) <= _MOST_PEOPLE or not all(type(p) is str for p in people):
            return None
        counts = [[None if c is None else float(c) for c in own] for own in pictures.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if any(len(own) != len(people) for own in counts):
        return None
    return people, counts
