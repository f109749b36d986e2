"""Which methods are compared with which, and in what order.

A row is one experiment: a method name and config hash on one set under one protocol, with its
splits and seeds averaged. Rows rank within a set and protocol, on the splits that all of them
have; what cannot be compared is kept apart with the reason. What is estimated, and what its
intervals mean, is said in `statistics`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from math import sqrt
from statistics import fmean, stdev, variance
from typing import TYPE_CHECKING, Any

from cellbench.ranking.shared_errors import shared_errors
from cellbench.ranking.statistics import (
    image_errors,
    intervals,
    mean_over_images,
    rank_intervals,
)
from cellbench.records.summaries import Run

if TYPE_CHECKING:
    from cellbench.ranking.published import Published

# As in cellbench.data.splits, whose import would take longer than a leaderboard may; a test
# holds the two together.
PROTOCOLS = ("v1", "mbm-donor", "literature", "smoke", "released")
UNRANKED_PROTOCOLS = ("smoke", "released")

# The protocol that rows from papers go under: whatever theirs was, it was none of ours.
PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class Row:
    """One experiment.

    Attributes:
        rank: 1 for the least MAE of its set and protocol; None where it is not compared.
        rank_low: best rank of its 95 % bootstrap interval.
        rank_high: worst rank of it.
        method: name with the keys that `--set` changed.
        method_title: for people.
        dataset: name of the set.
        simulated: whether its images are.
        protocol: name.
        splits: that the numbers are of.
        seeds: of these runs.
        runs: how many.
        mae: mean over images of their mean absolute error over seeds and splits, cells.
        mae_sd: sample deviation of the splits' MAE, seeds averaged; None for one split.
        mae_seed_sd: deviation of the MAE over seeds within a split, pooled over splits; None
            where no split has two seeds.
        mae_low: lower end of the 95 % bootstrap interval over images, or slides.
        mae_high: its upper end.
        rmse: cells; root of the mean over images, averaged as for the MAE.
        mape: percent; this and all the metrics below but for bias are means over splits.
        r2: at most 1.
        bias: cells, averaged as the MAE is.
        f1: None without points.
        game1: cells.
        game2: cells.
        game3: cells.
        shared: how far it errs where other methods do (see `agreement`), -1 to 1; None where too
            few are ranked beside it.
        parameters: of the method; None in rows from papers.
        gflops: of one image.
        images_per_s: at inference.
        train_s: of one run.
        selection: what the weights were chosen on: val, last, train crops; unknown or test too
            in rows from papers.
        weights: source of the pretrained weights.
        iterations: training steps, the mean over runs; None in rows from papers, as are:
        recipe: of the method.
        config_hash: of the resolved config.
        note: why a row is not ranked, and in what it departs from the others.
        source: the paper that a number is from; empty for ours.
    """

    rank: int | None
    rank_low: int | None
    rank_high: int | None
    method: str
    method_title: str
    dataset: str
    simulated: bool
    protocol: str
    splits: tuple[int, ...]
    seeds: tuple[int, ...]
    runs: int
    mae: float | None
    mae_sd: float | None
    mae_seed_sd: float | None
    mae_low: float | None
    mae_high: float | None
    rmse: float | None
    mape: float | None
    r2: float | None
    bias: float | None
    f1: float | None
    game1: float | None
    game2: float | None
    game3: float | None
    shared: float | None
    parameters: int | None
    gflops: float | None
    images_per_s: float | None
    train_s: float | None
    selection: str
    weights: str
    iterations: int | None
    recipe: int | None
    config_hash: str | None
    note: str = ""
    source: str = ""


Experiment = list[Run]


def rank_runs(runs: Iterable[Run], edited: Iterable[Run] = ()) -> list[Row]:
    """Rows of all sets and protocols.

    Args:
        runs: of any sets, simulated or real, under any protocols.
        edited: whose records were edited after they were written: each has a row of its own,
            without a rank.

    Returns:
        Sorted by set and protocol; ranked rows first, by MAE, then the others by name. Empty
        without runs.
    """
    tables: dict[tuple[str, bool, int], tuple[list[Run], list[Run]]] = {}
    for part, each in enumerate((runs, edited)):
        for run in each:
            order = PROTOCOLS.index(run.protocol) if run.protocol in PROTOCOLS else len(PROTOCOLS)
            tables.setdefault((run.dataset, run.simulated, order), ([], []))[part].append(run)
    return [row for key in sorted(tables) for row in _table(*tables[key])]


def _table(runs: Sequence[Run], edited: Sequence[Run]) -> list[Row]:
    """The rows of one set under one protocol."""
    experiments = _experiments(runs)
    excluded = _excluded(experiments)
    compared = [e for e, reason in zip(experiments, excluded, strict=True) if not reason]
    splits = _compared_splits(compared)
    shown: list[Experiment] = []
    notes: list[str] = []
    others = [_row([run], f"{run.file} {run.edited}") for run in edited]
    for experiment, reason in zip(experiments, excluded, strict=True):
        own = {run.split for run in experiment}
        if not reason and not splits <= own:
            reason = f"has no run of split {_listed(splits - own)}"
        if reason:
            others.append(_row(experiment, reason))
            continue
        more = f"also ran on split {_listed(own - splits)}" if own - splits else ""
        shown.append([run for run in experiment if run.split in splits])
        notes.append(more)
    ranked = sorted(experiment_rows(shown, notes), key=_by_mae)
    others.sort(key=_by_name)
    return [replace(row, rank=place) for place, row in _places(ranked)] + others


def experiment_rows(
    experiments: Sequence[Sequence[Run]], notes: Sequence[str] | None = None
) -> list[Row]:
    """A row for each of some experiments that are compared with each other.

    Args:
        experiments: per experiment its runs, all on the same splits of one set.
        notes: what else is to be said of each.

    Returns:
        In the order given, with intervals and departures, without ranks.
    """
    told = notes if notes is not None else [""] * len(experiments)
    rows = [_row(runs, note) for runs, note in zip(experiments, told, strict=True)]
    return _with_departures(_with_intervals(rows, experiments), experiments)


def _with_intervals(rows: Sequence[Row], experiments: Sequence[Sequence[Run]]) -> list[Row]:
    """The compared rows with what resampling their images says, and what they have in common."""
    errors = image_errors(experiments)
    ranges = intervals(errors.absolute, errors.clusters)
    known = errors.cluster_count >= 2
    places = rank_intervals(errors.absolute, errors.clusters) if known else [None] * len(rows)
    shared = shared_errors(errors.signed, [base_method(row.method) for row in rows])
    return [
        replace(
            row,
            mae_low=None if span is None else span[0],
            mae_high=None if span is None else span[1],
            rank_low=None if place is None else place[0],
            rank_high=None if place is None else place[1],
            shared=likeness,
        )
        for row, span, place, likeness in zip(rows, ranges, places, shared, strict=True)
    ]


def _with_departures(rows: Sequence[Row], experiments: Sequence[Sequence[Run]]) -> list[Row]:
    """The compared rows, each with the ways in which it was not treated as the others were."""
    lengths: dict[str, Counter[int]] = {}
    for row in rows:
        if row.iterations is not None:
            lengths.setdefault(base_method(row.method), Counter())[row.iterations] += 1
    seeds = Counter(len(row.seeds) for row in rows)
    most_seeds = max(seeds, key=lambda number: (seeds[number], number), default=1)
    found = []
    for row, runs in zip(rows, experiments, strict=True):
        notes = [row.note] if row.note else []
        if row.simulated:
            notes.append("simulated images")
        if any(run.weights_missed for run in runs):
            notes.append("random weights where pretrained ones were wanted")
        budgets = sorted({run.budget_s for run in runs if run.budget_s is not None})
        if budgets:
            listed = " and ".join(f"{seconds / 60:g} min" for seconds in budgets)
            notes.append(f"steps fitted to {listed} on the machine that ran it")
        name = base_method(row.method)
        usual, times = lengths[name].most_common(1)[0]
        if row.iterations != usual and times > 1:
            notes.append(f"trained for {row.iterations} steps, most rows of {name} for {usual}")
        if len({run.iterations for run in runs}) > 1 and not budgets:
            notes.append("its runs differ in length")
        if len(row.seeds) < most_seeds:
            notes.append(f"{len(row.seeds)} seeds where most rows have {most_seeds}")
        found.append(replace(row, note="; ".join(notes)))
    return found


def published_rows(published: Iterable["Published"]) -> list[Row]:
    """Numbers from papers as rows, without ranks, the least MAE first."""
    unknown: dict[str, Any] = dict.fromkeys(field.name for field in fields(Row))
    rows = [
        Row(
            **unknown
            | {
                "method": number.title,
                "method_title": number.title,
                "dataset": number.dataset,
                "simulated": False,
                "protocol": PUBLISHED,
                "splits": (),
                "seeds": (),
                "runs": 0,
                "mae": number.mae,
                "mae_sd": number.mae_sd,
                "rmse": number.rmse,
                "selection": number.selection,
                "weights": "",
                "note": "; ".join(filter(None, (number.source, number.note))),
                "source": number.source,
            }
        )
        for number in published
    ]
    return sorted(rows, key=lambda row: (row.dataset, row.mae, row.method))


def _experiments(runs: Sequence[Run]) -> list[Experiment]:
    """Runs of one experiment together: all that may differ among them is split and seed."""
    groups: dict[tuple[str, ...], Experiment] = {}
    for run in runs:
        weights = run.weights_sha256 or run.weights_source
        key = (run.protocol, run.method, run.config_hash, str(run.recipe), run.manifest_hash)
        groups.setdefault((*key, weights), []).append(run)
    experiments = []
    for _, group in sorted(groups.items()):
        cells = Counter((run.split, run.seed) for run in group)
        if max(cells.values()) == 1:
            experiments.append(group)
            continue
        # One split and seed twice: trainings of different length, as two budgets give.
        lengths = sorted({run.iterations for run in group})
        experiments += [[run for run in group if run.iterations == n] for n in lengths]
    return experiments


def _excluded(experiments: Sequence[Experiment]) -> list[str]:
    """Why each experiment is not compared; empty where it is."""
    newest: dict[str, int] = {}
    for experiment in experiments:
        name, recipe = base_method(experiment[0].method), experiment[0].recipe
        newest[name] = max(recipe, newest.get(name, recipe))
    reasons = []
    for experiment in experiments:
        run = experiment[0]
        current = newest[base_method(run.method)]
        if run.protocol in UNRANKED_PROTOCOLS or run.protocol not in PROTOCOLS:
            reasons.append(f"protocol {run.protocol} is never ranked")
        elif run.recipe != current:
            reasons.append(f"recipe {run.recipe}, current is {current}")
        else:
            reasons.append("")
    revisions = Counter(
        e[0].manifest_hash for e, reason in zip(experiments, reasons, strict=True) if not reason
    )
    if len(revisions) > 1:
        most = min(revisions, key=lambda revision: (-revisions[revision], revision))
        for index, experiment in enumerate(experiments):
            if not reasons[index] and experiment[0].manifest_hash != most:
                reasons[index] = "another revision of the data set"
    return reasons


def base_method(name: str) -> str:
    """The method's name without the keys that `--set` changed."""
    return name.partition("[")[0]


def _compared_splits(experiments: Sequence[Experiment]) -> set[int]:
    """The splits that all have; where there is none, the one that most have."""
    own = [{run.split for run in experiment} for experiment in experiments]
    shared = set.intersection(*own) if own else set()
    if shared or not own:
        return shared
    count = Counter(split for splits in own for split in splits)
    return {min(count, key=lambda split: (-count[split], split))}


def _row(runs: Sequence[Run], note: str) -> Row:
    first = runs[0]
    parts = [[r for r in runs if r.split == split] for split in sorted({r.split for r in runs})]
    errors = image_errors([runs])
    (mae,), (square,), (bias,) = (
        mean_over_images(values) for values in (errors.absolute, errors.squared, errors.signed)
    )
    by_split: dict[str, Any] = {
        key: _mean([_mean([run.metrics.get(key) for run in part]) for part in parts])
        for key in _BY_SPLIT
    }
    maes = [[_mae(run) for run in part] for part in parts if all(len(r.truth) for r in part)]
    return Row(
        rank=None,
        rank_low=None,
        rank_high=None,
        method=first.method,
        method_title=first.method_title,
        dataset=first.dataset,
        simulated=first.simulated,
        protocol=first.protocol,
        splits=tuple(sorted({run.split for run in runs})),
        seeds=tuple(sorted({run.seed for run in runs})),
        runs=len(runs),
        mae=mae,
        mae_sd=stdev(map(fmean, maes)) if len(maes) > 1 else None,
        mae_seed_sd=_within(maes),
        mae_low=None,
        mae_high=None,
        rmse=None if square is None else sqrt(square),
        bias=bias,
        shared=None,
        parameters=first.parameters,
        gflops=first.gflops,
        images_per_s=_mean([run.images_per_s for run in runs]),
        train_s=_mean([run.train_s for run in runs]),
        selection=first.selection,
        weights=first.weights_source,
        iterations=round(fmean(run.iterations for run in runs)),
        recipe=first.recipe,
        config_hash=first.config_hash,
        note=note,
        **by_split,
    )


_BY_SPLIT = ("mape", "r2", "f1", "game1", "game2", "game3")


def _mae(run: Run) -> float:
    return float(abs(run.prediction - run.truth).mean())


def _within(maes: Sequence[Sequence[float]]) -> float | None:
    """Deviation of the values of a part around its mean, pooled over parts of two or more."""
    several = [part for part in maes if len(part) > 1]
    if not several:
        return None
    squares = sum(variance(part) * (len(part) - 1) for part in several)
    return sqrt(squares / sum(len(part) - 1 for part in several))


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None where one value is not known: a mean of the rest would flatter."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _by_mae(row: Row) -> tuple[bool, float, str, str, str]:
    return row.mae is None, row.mae or 0.0, row.method, row.config_hash or "", row.weights


def _by_name(row: Row) -> tuple[str, str, str, int, tuple[int, ...]]:
    return row.protocol, row.method, row.config_hash or "", row.recipe or 0, row.splits


def _places(rows: Sequence[Row]) -> list[tuple[int | None, Row]]:
    """Ranks from 1; equal MAE shares one, and a row without MAE has none."""
    places: list[tuple[int | None, Row]] = []
    for index, row in enumerate(rows):
        tied = index > 0 and rows[index - 1].mae == row.mae
        places.append((None if row.mae is None else places[-1][0] if tied else index + 1, row))
    return places


def _listed(splits: set[int]) -> str:
    return ", ".join(str(split) for split in sorted(splits))
