"""Means and totals of counted pictures by group, corrected with annotated pictures."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellbench.counting.count_rows import csv_lines
from cellbench.data.own_sets.groups import groups_by_pattern
from cellbench.errors import UserError
from cellbench.files.writing import write_atomically
from cellbench.metrics.powered_means import LEVEL, Estimate, PoweredMean, powered_mean
from cellbench.ranking.tables import csv_cell

FILE = "estimates.csv"
ALL = "all pictures"

_HEAD = (
    "group", "pictures", "annotated", "mean", "mean_low", "mean_high", "total", "total_low",
    "total_high", "counted_mean", "counted_total", "annotated_mean", "annotated_low",
    "annotated_high", "weight",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KnownPicture:
    """Counts of an annotated picture that the method was not trained on.

    Attributes:
        image: its id in its set.
        truth: annotated cells.
        count: cells by the method.
    """

    image: str
    truth: float
    count: float


@dataclass(frozen=True, slots=True)
class GroupMeans:
    """Estimates of a group of pictures.

    Attributes:
        group: its name; `all pictures` for all of them.
        means: mean and total with intervals; None if none of its pictures is annotated.
        counted: cells by the method in each of its pictures without annotation.
    """

    group: str
    means: PoweredMean | None
    counted: tuple[float, ...]


def group_means(
    counted: Mapping[str, float],
    known: Sequence[KnownPicture],
    pattern: str | None,
    below: Mapping[str, str] | None = None,
) -> list[GroupMeans]:
    """Estimate mean and total of all pictures, and of each group.

    Args:
        counted: cells by the method in the pictures without annotation, by name.
        known: the annotated pictures.
        pattern: regular expression whose parentheses enclose the group's name; None for no groups.
        below: text that the pattern is searched in, by picture name: its path below the given
            folder. By default the name.

    Returns:
        All pictures first, then the groups by name.

    Raises:
        UserError: the pattern is invalid, or does not match a picture.
    """
    names = [*counted, *(picture.image for picture in known)]
    group_of = dict.fromkeys(names, ALL)
    if pattern is not None:
        paths = {name: (below or {}).get(name, name) for name in names}
        found_in = groups_by_pattern(pattern, paths.values())
        group_of = {name: found_in[path] for name, path in paths.items()}
    groups = [ALL, *sorted(set(group_of.values()) - {ALL})]
    found = []
    for group in groups:
        others = [n for name, n in counted.items() if group in (ALL, group_of[name])]
        annotated = [p for p in known if group in (ALL, group_of[p.image])]
        means = powered_mean([p.truth for p in annotated], [p.count for p in annotated], others)
        found.append(GroupMeans(group, means, tuple(others)))
    return found


def annotated_paths(
    pattern: str | None, ids: Sequence[str], among: Mapping[str, str], below: Mapping[str, str]
) -> dict[str, str]:
    """Return the text to search the group pattern in, for each annotated picture.

    Args:
        pattern: regular expression whose parentheses enclose the group's name.
        ids: ids of the annotated pictures.
        among: ids of those that are also counted pictures, by the counted picture's name.
        below: path of each counted picture below the given folder.

    Returns:
        By id, the first text that the pattern matches: the path of the counted picture, the id, or
        the id with its dashes replaced by slashes (dashes join folders and name in an id). Empty
        without a pattern.

    Raises:
        UserError: the pattern is invalid, or matches none of an id's texts.
    """
    if pattern is None:
        return {}
    groups_by_pattern(pattern, ())
    # Pictures that cannot be counted have no path there.
    counted = {image_id: below[name] for name, image_id in among.items() if name in below}
    wanted = re.compile(pattern)
    found = {}
    for image_id in ids:
        texts = [counted.get(image_id, image_id), image_id, image_id.replace("-", "/")]
        found[image_id] = next((text for text in texts if wanted.search(text)), image_id)
    try:
        groups_by_pattern(pattern, found.values())
    except UserError as error:
        raise UserError(f"Of the annotated pictures: {error}") from None
    return found


def write_group_means(folder: Path, groups: Sequence[GroupMeans]) -> Path:
    """Write `estimates.csv`, one row per group, and return its path.

    Raises:
        UserError: it cannot be written.
    """
    rows = [
        ["" if value is None else csv_cell(value) for value in row.values()]
        for row in table(groups)
    ]
    path = folder / FILE
    write_atomically(path, csv_lines([_HEAD, *rows]), elsewhere="--out")
    return path


def table(groups: Sequence[GroupMeans]) -> list[dict[str, Any]]:
    """Return one row per group, with the columns of `estimates.csv`; None for missing numbers."""
    return [dict(zip(_HEAD, _line(group), strict=True)) for group in groups]


def _line(group: GroupMeans) -> list[Any]:
    means = group.means
    if means is None:
        total = sum(group.counted)
        mean = total / len(group.counted) if group.counted else None
        return [group.group, len(group.counted), 0, *[None] * 6, mean, total, *[None] * 4]
    return [
        group.group,
        means.annotated + means.others,
        means.annotated,
        *_ends(means.mean),
        *_ends(means.total),
        means.naive_mean,
        means.naive_total,
        *_ends(means.annotated_mean),
        means.weight,
    ]


def _ends(estimate: Estimate) -> tuple[float | None, ...]:
    low = None if estimate.low is None else max(estimate.low, 0.0)  # a count is never negative
    return estimate.value, low, estimate.high


def sentences(groups: Sequence[GroupMeans]) -> list[str]:
    """Return one paragraph per group for the terminal."""
    return [_sentence(group) for group in groups]


def _sentence(group: GroupMeans) -> str:
    means = group.means
    name = "All pictures" if group.group == ALL else group.group
    if means is None:
        return (
            f"{name}: {_pictures(len(group.counted))}, {sum(group.counted):.0f} cells by the "
            "method; no interval, since none is annotated."
        )
    estimate = (
        f"{name}: {_pictures(means.annotated + means.others)}, {means.annotated} annotated; "
        f"{means.mean.value:.1f} cells a picture{_between(means.mean, 1)}, "
        f"{means.total.value:.0f} in all{_between(means.total, 0)}"
        f"{_why_no_interval(means)}. "
    )
    return (
        estimate
        + f"The method alone counts {means.naive_mean:.1f} and {means.naive_total:.0f}, the "
        f"annotated pictures alone have {means.annotated_mean.value:.1f} a picture"
        f"{_between(means.annotated_mean, 1)}."
    )


def _why_no_interval(means: PoweredMean) -> str:
    if means.mean.low is not None:
        return ""
    if means.annotated == 1:
        return "; no interval, since one is annotated"
    return "; no interval, since the method is off by the same number in all that are annotated"


def _pictures(number: int) -> str:
    return "1 picture" if number == 1 else f"{number} pictures"


def _between(estimate: Estimate, digits: int) -> str:
    _, low, high = _ends(estimate)
    if low is None or high is None:
        return ""
    return f" ({LEVEL:.0%}: {low:.{digits}f} to {high:.{digits}f})"
