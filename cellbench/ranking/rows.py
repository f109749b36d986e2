"""Rows of leaderboards: an experiment is a method name and config hash on one set and protocol.

Its splits and seeds are averaged. `statistics` describes what is estimated and what its intervals
mean, `ranks` which rows are compared.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, stdev, variance
from typing import TYPE_CHECKING, Any

from cellbench.ranking.shared_errors import shared_errors
from cellbench.ranking.shared_ranks import shared_ranks
from cellbench.ranking.statistics import (
    FEWEST_CLUSTERS,
    image_errors,
    intervals,
    mean_over_images,
    rank_intervals,
)
from cellbench.records.summaries import Run

if TYPE_CHECKING:
    from cellbench.ranking.published import Published

# As in cellbench.data.splits, whose import would take longer than a leaderboard may; a test
# keeps the two equal.
UNRANKED_PROTOCOLS = ("smoke", "released", "folds", "folds-half", "everything")
PROTOCOLS = ("v1", "mbm-donor", "literature", *UNRANKED_PROTOCOLS)

# Protocol of rows from papers: whatever theirs was, it was none of ours.
PUBLISHED = "published"
# Protocol of people who counted the images of a set.
PEOPLE = "people"
# Protocols that are shown below the methods of a set and never ranked.
BESIDE = (PEOPLE, PUBLISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Row of a leaderboard: one experiment, or a published result.

    Attributes:
        rank: one more than the number of rows of its set and protocol that are significantly
            better; None where it is not compared.
        share: trained share of its method's schedule, below 1; None for a whole training.
        least_difference: cells of MAE by which two neighbours of its table must differ to be
            distinguished; None where no two can be compared.
        rank_low: best rank of its 95 % bootstrap interval.
        rank_high: worst rank of it.
        method: name with the keys that `--set` changed.
        method_title: name for display.
        dataset: name of the set.
        simulated: whether its images are simulated.
        protocol: name.
        splits: splits that are averaged.
        seeds: seeds of the runs.
        runs: number of runs.
        mae: mean over images of their mean absolute error over seeds and splits, cells.
        mae_sd: sample SD of the splits' MAE, seeds averaged; None for one split.
        mae_seed_sd: SD of the MAE over seeds within a split, pooled over splits; None where no
            split has two seeds.
        mae_low: lower end of the 95 % bootstrap interval over images, or slides.
        mae_high: its upper end.
        raw_mae: MAE of the counts before calibration on validation images, averaged as the MAE
            is; None where a threshold decides the counts.
        rmse: cells; root of the mean squared error over images, averaged as for the MAE.
        mape: percent; this and all the metrics below but for bias are means over splits.
        r2: coefficient of determination, at most 1.
        bias: cells, averaged as the MAE is.
        f1: None without points.
        game1: cells.
        game2: cells.
        game3: cells.
        shared: correlation of its errors with other methods' (see `shared_errors`), -1 to 1; None
            where too few are ranked beside it.
        parameters: number of parameters; None in rows from papers.
        gflops: per image.
        images_per_s: speed at inference.
        train_s: seconds per run.
        selection: data that the weights were selected on: val, last, train crops; unknown or test
            too in rows from papers.
        weights: source of the pretrained weights.
        by_steps: whether it was trained by gradient steps; False in rows from papers.
        iterations: training steps, mean over runs; None in rows from papers, as are the next two.
        recipe: recipe of the method.
        config_hash: hash of the resolved config.
        note: why the row is not ranked, and how it departs from the others.
        source: the paper that a number is from; empty for runs.
        run_ids: ids of the averaged runs, by split and seed; empty for an edited record.
    """

    rank: int | None = None
    share: float | None = None
    least_difference: float | None = None
    rank_low: int | None = None
    rank_high: int | None = None
    method: str
    method_title: str
    dataset: str
    simulated: bool
    protocol: str
    splits: tuple[int, ...]
    seeds: tuple[int, ...]
    runs: int
    mae: float | None = None
    mae_sd: float | None = None
    mae_seed_sd: float | None = None
    mae_low: float | None = None
    mae_high: float | None = None
    raw_mae: float | None = None
    rmse: float | None = None
    mape: float | None = None
    r2: float | None = None
    bias: float | None = None
    f1: float | None = None
    game1: float | None = None
    game2: float | None = None
    game3: float | None = None
    shared: float | None = None
    parameters: int | None = None
    gflops: float | None = None
    images_per_s: float | None = None
    train_s: float | None = None
    selection: str
    weights: str
    by_steps: bool = False
    iterations: int | None = None
    recipe: int | None = None
    config_hash: str | None = None
    note: str = ""
    source: str = ""
    run_ids: tuple[str, ...] = ()

    @property
    def listed(self) -> bool:
        """Whether tables show it by default: ranked rows and, below them, partial trainings."""
        return self.rank is not None or self.share is not None


Experiment = list[Run]

# A training has levelled off when the last quarter of its steps lowers the validation error by
# less than this share.
LEVELLED = 0.05


def experiment_rows(
    experiments: Sequence[Sequence[Run]],
    notes: Sequence[str] | None = None,
    *,
    partial: bool = False,
) -> list[Row]:
    """Build the rows of experiments that are compared with each other.

    Args:
        experiments: per experiment its runs, all on the same splits of one set.
        notes: a remark for each.
        partial: whether these trainings were cut short; no note then states that the validation
            error still fell.

    Returns:
        One row per experiment, in order, with ranks, intervals and departures.
    """
    remarks = notes if notes is not None else [""] * len(experiments)
    rows = [experiment_row(runs, note) for runs, note in zip(experiments, remarks, strict=True)]
    return _with_departures(_with_intervals(rows, experiments), experiments, partial=partial)


def _with_intervals(rows: Sequence[Row], experiments: Sequence[Sequence[Run]]) -> list[Row]:
    """Add ranks, bootstrap intervals, rank intervals and shared errors to compared rows."""
    errors = image_errors(experiments)
    ranges = intervals(errors.absolute, errors.clusters)
    known = errors.cluster_count >= FEWEST_CLUSTERS
    places = rank_intervals(errors.absolute, errors.clusters) if known else [None] * len(rows)
    shared = shared_errors(errors.signed, [base_method(row.method) for row in rows])
    ranking = shared_ranks(errors.absolute, errors.clusters)
    return [
        replace(
            row,
            rank=rank,
            least_difference=ranking.smallest,
            mae_low=None if span is None else span[0],
            mae_high=None if span is None else span[1],
            rank_low=None if place is None else place[0],
            rank_high=None if place is None else place[1],
            shared=correlation,
        )
        for row, rank, span, place, correlation in zip(
            rows, ranking.ranks, ranges, places, shared, strict=True
        )
    ]


def _with_departures(
    rows: Sequence[Row], experiments: Sequence[Sequence[Run]], *, partial: bool
) -> list[Row]:
    """Add to the note of each compared row how its runs departed from the others'."""
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
        if row.by_steps and len({run.iterations for run in runs}) > 1 and not budgets:
            notes.append("its runs differ in length")
        gains = [run.late_gain for run in runs if run.late_gain is not None]
        if gains and fmean(gains) >= LEVELLED and not partial:
            notes.append(
                f"its validation error still fell by {fmean(gains):.0%} in the last quarter of its "
                "steps"
            )
        if runs[0].views > 1:
            notes.append(f"counts each image in {runs[0].views} orientations")
        if len(row.seeds) < most_seeds:
            notes.append(f"{len(row.seeds)} seeds where most rows have {most_seeds}")
        found.append(replace(row, note="; ".join(notes)))
    return found


def published_rows(published: Iterable["Published"]) -> list[Row]:
    """Build rows from published results, without ranks, sorted by set and MAE."""
    rows = [
        Row(
            method=number.title,
            method_title=number.title,
            dataset=number.dataset,
            simulated=False,
            protocol=PUBLISHED,
            splits=(),
            seeds=(),
            runs=0,
            mae=number.mae,
            mae_sd=number.mae_sd,
            rmse=number.rmse,
            selection=number.selection,
            weights="",
            note="; ".join(filter(None, (number.source, number.note))),
            source=number.source,
        )
        for number in published
    ]
    return sorted(rows, key=lambda row: (row.dataset, row.mae, row.method))


def base_method(name: str) -> str:
    """Return the method's name without the keys that `--set` changed."""
    return name.partition("[")[0]


def experiment_row(runs: Sequence[Run], note: str) -> Row:
    """Build the row of one experiment, without ranks and intervals.

    Args:
        runs: runs of the experiment, at least one.
        note: why it is not ranked, or another remark.
    """
    first = runs[0]
    parts = [[r for r in runs if r.split == split] for split in sorted({r.split for r in runs})]
    errors = image_errors([runs])
    (mae,), (square,), (bias,) = (
        mean_over_images(values) for values in (errors.absolute, errors.squared, errors.signed)
    )
    raw = [replace(run, prediction=run.raw) for run in runs if run.raw is not None]
    (raw_mae,) = mean_over_images(image_errors([raw]).absolute) if len(raw) == len(runs) else [None]
    by_split: dict[str, Any] = {
        key: _mean([_mean([run.metrics.get(key) for run in part]) for part in parts])
        for key in _BY_SPLIT
    }
    maes = [[_mae(run) for run in part] for part in parts if all(len(r.truth) for r in part)]
    return Row(
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
        raw_mae=raw_mae,
        rmse=None if square is None else sqrt(square),
        bias=bias,
        parameters=first.parameters,
        gflops=first.gflops,
        images_per_s=_mean([run.images_per_s for run in runs]),
        train_s=_mean([run.train_s for run in runs]),
        selection=first.selection,
        weights=first.weights_source,
        by_steps=first.by_steps,
        iterations=round(fmean(run.iterations for run in runs)),
        recipe=first.recipe,
        config_hash=first.config_hash,
        note=note,
        run_ids=tuple(run.run_id for run in sorted(runs, key=lambda run: (run.split, run.seed))),
        **by_split,
    )


_BY_SPLIT = ("mape", "r2", "f1", "game1", "game2", "game3")


def _mae(run: Run) -> float:
    return float(abs(run.prediction - run.truth).mean())


def _within(maes: Sequence[Sequence[float]]) -> float | None:
    """Compute the SD of values around the mean of their part, pooled over parts of two or more."""
    several = [part for part in maes if len(part) > 1]
    if not several:
        return None
    squares = sum(variance(part) * (len(part) - 1) for part in several)
    return sqrt(squares / sum(len(part) - 1 for part in several))


def _mean(values: Sequence[float | None]) -> float | None:
    """Compute the mean; None where a value is unknown, since a mean of the rest would flatter."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
