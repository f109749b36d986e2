"""Messages on the uncertainty of counts: the method's expected error, and sums over pictures."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellbench.counting.count_rows import Counted
from cellbench.data.splits import EVERYTHING, holds_out
from cellbench.ranking.clusters import cluster_names, cluster_word
from cellbench.records.expected_error import cross_validated_error


def expected_error_text(record: Mapping[str, Any], folder: Path) -> str:
    """Return a sentence on the error of a method on pictures that it was not trained on.

    Args:
        record: record of the run.
        folder: folder of its weights.
    """
    method, dataset = record["method"], record["dataset"]
    if holds_out(record["protocol"]):
        return f"{method} was {_test_error_text(record)} of {dataset}"
    found = cross_validated_error(folder)
    if found is None:
        every = "every image" if record["protocol"] == EVERYTHING else "the scored images"
        return f"{method} was trained on {every} of {dataset}, so that its error is not known"
    mae, low, high = found
    interval = "" if low is None else f" (95 %: {low:.2f} to {high:.2f})"
    folds = f"in the cross-validation of {dataset}"
    return f"{method} was {mae:.2f} cells off on average{interval} {folds}"


def sum_text(counted: Sequence[Counted], *, estimated: bool) -> str:
    """Return a sentence on the sum of the counts.

    Args:
        counted: the pictures.
        estimated: whether a total with an interval is shown after it.
    """
    cells = sum(one.count for one in counted)
    if len(counted) == 1:
        ends = counted[0].interval
        interval = "" if ends is None else f" (90 %: {ends[0]:.1f} to {ends[1]:.1f})"
        return f"{cells:.1f} cells in 1 picture{interval}."
    total = f"{cells:.1f} cells in {len(counted)} pictures"
    if estimated or all(one.interval is None for one in counted):
        return f"{total}."
    return (
        f"{total}; the intervals are of single pictures (counts.csv) and do not add up to one of "
        "the sum, which --annotated gives."
    )


def table_warnings(counted: Sequence[Counted], tables: Collection[str]) -> list[str]:
    """Return warnings on duplicate pictures, and on pictures that only the tables have.

    Args:
        counted: the given pictures.
        tables: names of all pictures in the tables.
    """
    names: dict[str, list[str]] = {}
    for one in counted:
        names.setdefault(one.sha256, []).append(one.image)
    copies = [same for same in names.values() if len(same) > 1]
    more = sum(len(same) - 1 for same in copies)
    found = []
    if copies:
        of = "is a copy of another" if more == 1 else "are copies of others"
        first, second, *_ = copies[0]
        found.append(
            f"{more} of {len(counted)} pictures {of}, byte for byte ({second} of {first}); each is "
            "in sums and means."
        )
    known = {one.image for one in counted}
    earlier = [name for name in tables if name not in known]
    if earlier:
        line = "1 line" if len(earlier) == 1 else f"{len(earlier)} lines"
        found.append(
            f"counts.csv also has {line} of pictures that were counted earlier and are not among "
            f"those that are named now ({earlier[0]}): no number here is of them, and a sum of the "
            "table's column is."
        )
    return found


def _test_error_text(record: Mapping[str, Any]) -> str:
    """Return the MAE on the test images as text, with their number and the interval if any."""
    from cellbench.ranking.statistics import record_interval

    images, dataset = record["images"], record["dataset"]
    groups = record.get("groups") or {}
    clusters = cluster_names(dataset, [image["id"] for image in images], groups)
    ends = record_interval(record)
    interval = "" if ends is None else f" (95 %: {ends[0]:.2f} to {ends[1]:.2f})"
    number = "the test image" if len(images) == 1 else f"{len(images)} test images"
    if len(set(clusters)) < len(images):
        number += f" ({len(set(clusters))} {cluster_word(dataset, groups)}s)"
    return f"{record['metrics']['mae']:.2f} cells off on average{interval} on {number}"
