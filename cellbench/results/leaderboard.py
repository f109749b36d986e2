"""Which methods are compared with which, and in what order.

A row is one experiment: a method name and config hash on one set under one protocol, with its
splits and seeds averaged. Rows rank within a set and protocol, on the splits that all of them
have; what cannot be compared is kept apart with the reason.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from cellbench.results.runs import Run
from cellbench.results.statistics import mae_intervals

# As in cellbench.data.splits, whose import would take longer than a leaderboard may; a test
# holds the two together.
PROTOCOLS = ("v1", "mbm-donor", "literature", "smoke", "released")
UNRANKED_PROTOCOLS = ("smoke", "released")


@dataclass(frozen=True, slots=True)
class Row:
    """One experiment.

    Attributes:
        rank: 1 for the least MAE of its set and protocol; None where it is not compared.
        method: name with the keys that `--set` changed.
        method_title: for people.
        dataset: name of the set.
        simulated: whether its images are.
        protocol: name.
        splits: that the numbers are of.
        seeds: of these runs.
        runs: how many.
        mae: mean over splits of the mean over seeds, cells; as are the metrics after it.
        mae_sd: sample deviation over splits; None for one split.
        mae_low: lower end of the 95 % bootstrap interval over images.
        mae_high: its upper end.
        rmse: cells.
        mape: percent.
        r2: at most 1.
        bias: cells.
        f1: None without points.
        game1: cells.
        game2: cells.
        game3: cells.
        parameters: of the method.
        gflops: of one image.
        images_per_s: at inference.
        train_s: of one run.
        weights: source of the pretrained weights.
        iterations: training steps, the mean over runs.
        recipe: of the method.
        config_hash: of the resolved config.
        note: why a row is not ranked, or what else it has.
    """

    rank: int | None
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
    parameters: int
    gflops: float | None
    images_per_s: float | None
    train_s: float | None
    weights: str
    iterations: int
    recipe: int
    config_hash: str
    note: str = ""


Experiment = list[Run]


def rank_runs(runs: Iterable[Run]) -> list[Row]:
    """Rows of all sets and protocols.

    Args:
        runs: of any sets, simulated or real, under any protocols.

    Returns:
        Sorted by set and protocol; ranked rows first, by MAE, then the others by name. Empty
        without runs.
    """
    tables: dict[tuple[str, bool, int], list[Run]] = {}
    for run in runs:
        order = PROTOCOLS.index(run.protocol) if run.protocol in PROTOCOLS else len(PROTOCOLS)
        tables.setdefault((run.dataset, run.simulated, order), []).append(run)
    return [row for key in sorted(tables) for row in _table(tables[key])]


def _table(runs: Sequence[Run]) -> list[Row]:
    """The rows of one set under one protocol."""
    experiments = _experiments(runs)
    excluded = _excluded(experiments)
    compared = [e for e, reason in zip(experiments, excluded, strict=True) if not reason]
    splits = _compared_splits(compared)
    ranked, shown, others = [], [], []
    for experiment, reason in zip(experiments, excluded, strict=True):
        own = {run.split for run in experiment}
        if not reason and not splits <= own:
            reason = f"has no run of split {_listed(splits - own)}"
        if reason:
            others.append(_row(experiment, reason))
            continue
        more = f"also ran on split {_listed(own - splits)}" if own - splits else ""
        kept = [run for run in experiment if run.split in splits]
        shown.append(kept)
        ranked.append(_row(kept, more))
    for index, interval in enumerate(mae_intervals(shown)):
        if interval is not None:
            ranked[index] = replace(ranked[index], mae_low=interval[0], mae_high=interval[1])
    ranked.sort(key=_by_mae)
    others.sort(key=lambda row: (row.protocol, row.method, row.config_hash, row.recipe, row.splits))
    return [replace(row, rank=place) for place, row in _places(ranked)] + others


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


def _row(runs: Experiment, note: str) -> Row:
    first = runs[0]
    parts = [[r for r in runs if r.split == split] for split in sorted({r.split for r in runs})]
    by_split = {
        key: [_mean([run.metrics.get(key) for run in part]) for part in parts] for key in _METRICS
    }
    known = [value for value in by_split["mae"] if value is not None]
    return Row(
        rank=None,
        method=first.method,
        method_title=first.method_title,
        dataset=first.dataset,
        simulated=first.simulated,
        protocol=first.protocol,
        splits=tuple(sorted({run.split for run in runs})),
        seeds=tuple(sorted({run.seed for run in runs})),
        runs=len(runs),
        mae_sd=stdev(known) if len(known) > 1 else None,
        mae_low=None,
        mae_high=None,
        parameters=first.parameters,
        gflops=first.gflops,
        images_per_s=_mean([run.images_per_s for run in runs]),
        train_s=_mean([run.train_s for run in runs]),
        weights=first.weights_source,
        iterations=round(fmean(run.iterations for run in runs)),
        recipe=first.recipe,
        config_hash=first.config_hash,
        note=note,
        **{key: _mean(values) for key, values in by_split.items()},
    )


_METRICS = ("mae", "rmse", "mape", "r2", "bias", "f1", "game1", "game2", "game3")


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None where one value is not known: a mean of the rest would flatter."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _by_mae(row: Row) -> tuple[bool, float, str, str, str]:
    unknown = row.mae is None
    return unknown, row.mae or 0.0, row.method, row.config_hash, row.weights


def _places(rows: Sequence[Row]) -> list[tuple[int | None, Row]]:
    """Ranks from 1; equal MAE shares one, and a row without MAE has none."""
    places: list[tuple[int | None, Row]] = []
    for index, row in enumerate(rows):
        tied = index > 0 and rows[index - 1].mae == row.mae
        places.append((None if row.mae is None else places[-1][0] if tied else index + 1, row))
    return places


def _listed(splits: set[int]) -> str:
    return ", ".join(str(split) for split in sorted(splits))
