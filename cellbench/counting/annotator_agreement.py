"""Agreement between annotators and the method on the same pictures."""

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
    """Agreement of two counters on the pictures that both counted.

    Attributes:
        first: name of one counter.
        second: name of the other.
        pictures: number of pictures that both counted.
        mae: mean absolute difference, cells.
        bias: mean of the second minus the first, cells.
        low: lower 95 % limit of agreement (Bland-Altman); None with fewer than two pictures.
        high: upper limit.
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
    """Counts of all counters, and the agreement of every pair.

    Attributes:
        counters: "method", then the annotators.
        counts: by picture, one count per counter; None where an annotator has not checked it.
        pairs: pairs of counters that share at least one picture.
    """

    counters: tuple[str, ...]
    counts: Mapping[str, tuple[float | None, ...]]
    pairs: tuple[PairAgreement, ...]


def open_logs(counted: CountedFolder) -> dict[str, CorrectionLog]:
    """Open the correction logs of a folder by annotator; corrected.csv has the name "corrected".

    Raises:
        UserError: a log is damaged.
    """
    return {
        name or "corrected": CorrectionLog.open(counted.folder, name, counted.hashes)
        for name in annotators_of(counted.folder)
    }


def agreement(counted: CountedFolder, logs: Mapping[str, CorrectionLog]) -> Agreement:
    """Compare the method and the annotators of a counted folder.

    Args:
        counted: the method's counts.
        logs: correction logs by annotator. An annotator has counted a picture if the log
            holds a change of it, or marks it as checked.
    """
    counts: dict[str, tuple[float | None, ...]] = {}
    for picture in counted.pictures:
        row: list[float | None] = [picture.count]
        for log in logs.values():
            done = apply_changes(picture.places, log.of(picture.name, picture.sha256))
            row.append(picture.corrected_count(done) if done.checked else None)
        counts[picture.name] = tuple(row)
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
    differences = table[:, 1] - table[:, 0]
    limits = bland_altman(table[:, 0].tolist(), table[:, 1].tolist())
    return PairAgreement(
        first=counters[i],
        second=counters[j],
        pictures=len(both),
        mae=float(np.abs(differences).mean()),
        bias=float(differences.mean()),
        low=None if limits is None else limits.low,
        high=None if limits is None else limits.high,
    )
