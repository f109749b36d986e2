"""Means and totals of the counted pictures by group, with the help of those people annotated."""

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
    """A picture that people annotated and the method counted without having been trained on it.

    Attributes:
        image: its name in its set.
        truth: annotated cells.
        count: cells by the method.
    """

    image: str
    truth: float
    count: float


@dataclass(frozen=True, slots=True)
class GroupMeans:
    """What is known of a group of pictures.

    Attributes:
        group: its name; `all pictures` for all of them.
        means: None where none of its pictures is annotated.
        counted: cells by the method in its pictures without annotation.
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
        pattern: with parentheses around what names the group of a picture; None for no groups.
        below: by name of a counted picture, in what the pattern is looked for: its path below the
            folder that was named. By default the name.

    Returns:
        All pictures first, then the groups by name.

    Raises:
        UserError: the pattern is none, or does not fit a picture.
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
    """In what the pattern of groups is looked for, of annotated pictures.

    Args:
        pattern: with parentheses around what names the group.
        ids: of the annotated pictures.
        among: those that are pictures of the count too: ids by name.
        below: path of each counted picture below the folder that was named.

    Returns:
        By id, none without a pattern: the path of the counted picture that it is, else the id, else
        the id with slashes in place of dashes, which join folders and name in it.

    Raises:
        UserError: the pattern is none, or fits none of these.
    """
    if pattern is None:
        return {}
    groups_by_pattern(pattern, ())
    counted = {image_id: below[name] for name, image_id in among.items()}
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
    """Write `estimates.csv`, a line a group.

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
    """A line a group, with the columns of `estimates.csv`; None where there is no number."""
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
    low = None if estimate.low is None else max(estimate.low, 0.0)  # cells are never fewer
    return estimate.value, low, estimate.high


def sentences(groups: Sequence[GroupMeans]) -> list[str]:
    """A line a group, for people."""
    return [_sentence(group) for group in groups]


def _sentence(group: GroupMeans) -> str:
    means = group.means
    name = "All pictures" if group.group == ALL else group.group
    if means is None:
        return (
            f"{name}: {_pictures(len(group.counted))}, {sum(group.counted):.0f} cells by the "
            "method; no interval, since none is annotated."
        )
    told = (
        f"{name}: {_pictures(means.annotated + means.others)}, {means.annotated} annotated; "
        f"{means.mean.value:.1f} cells a picture{_between(means.mean, 1)}, "
        f"{means.total.value:.0f} in all{_between(means.total, 0)}"
        f"{_why_no_interval(means)}. "
    )
    return (
        told + f"The method alone counts {means.naive_mean:.1f} and {means.naive_total:.0f}, the "
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
