"""How far people and the method agree on the same pictures."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cellbench.counting.corrections import CorrectionLog, annotators_of, apply_changes
from cellbench.counting.counted_folder import CountedFolder
from cellbench.metrics.counting import bland_altman

METHOD_NAME = "method"


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two counters on the pictures that both counted.

    Attributes:
        first: name of the one.
        second: name of the other.
        pictures: that both counted.
        mae: mean absolute difference, cells.
        bias: mean of the second minus the first, cells.
        low: lower limit that holds 95 % of differences; None with fewer than two pictures.
        high: the upper one.
    """

    first: str
    second: str
    pictures: int
    mae: float
    bias: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Agreement:
    """Counts of all counters, and every pair of them.

    Attributes:
        counters: "method", then the people.
        counts: by picture a count for each counter; None where a person has not looked through it.
        pairs: those who have a picture in common.
    """

    counters: tuple[str, ...]
    counts: Mapping[str, tuple[float | None, ...]]
    pairs: tuple[PairAgreement, ...]


def open_logs(counted: CountedFolder) -> dict[str, CorrectionLog]:
    """The changes of everybody who corrected a folder; "corrected" made those without a name.

    Raises:
        UserError: a file of them is damaged.
    """
    return {
        name or "corrected": CorrectionLog.open(counted.folder, name, counted.hashes)
        for name in annotators_of(counted.folder)
    }


def agreement(counted: CountedFolder, logs: Mapping[str, CorrectionLog]) -> Agreement:
    """Compare the method and the people of a counted folder.

    Args:
        counted: the method's counts.
        logs: of each person, by name. Who changed something in a picture, or marked it as checked,
            has counted it.
    """
    counts: dict[str, tuple[float | None, ...]] = {}
    for picture in counted.pictures:
        own: list[float | None] = [picture.count]
        for log in logs.values():
            done = apply_changes(picture.places, log.of(picture.name, picture.sha256))
            own.append(picture.corrected_count(done) if done.checked else None)
        counts[picture.name] = tuple(own)
    counters = (METHOD_NAME, *logs)
    pairs = [
        pair
        for i, j in itertools.combinations(range(len(counters)), 2)
        if (pair := _pair(counters, i, j, list(counts.values()))) is not None
    ]
    return Agreement(counters, counts, tuple(pairs))


def _pair(
    counters: Sequence[str], i: int, j: int, counts: Sequence[Sequence[float | None]]
) -> PairAgreement | None:
    both = [(row[i], row[j]) for row in counts if row[i] is not None and row[j] is not None]
    if not both:
        return None
    table = np.array(both, dtype=np.float64)
    off = table[:, 1] - table[:, 0]
    limits = bland_altman(table[:, 0].tolist(), table[:, 1].tolist())
    return PairAgreement(
        first=counters[i],
        second=counters[j],
        pictures=len(both),
        mae=float(np.abs(off).mean()),
        bias=float(off.mean()),
        low=None if limits is None else limits.low,
        high=None if limits is None else limits.high,
    )
