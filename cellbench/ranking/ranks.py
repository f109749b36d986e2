"""Ranking of experiments within a set and protocol.

Rows are ranked on the splits that all of them have; experiments that cannot be compared are listed
apart, with the reason.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cellbench.ranking.rows import (
    PROTOCOLS,
    UNRANKED_PROTOCOLS,
    Experiment,
    Row,
    base_method,
    experiment_row,
    experiment_rows,
)
from cellbench.records.summaries import Run


def rank_runs(runs: Iterable[Run], edited: Iterable[Run] = ()) -> list[Row]:
    """Rank runs within each set and protocol.

    Args:
        runs: runs on any sets, simulated or real, under any protocols.
        edited: runs whose records were edited after they were written; each has a row of its own,
            without a rank.

    Returns:
        Rows sorted by set and protocol; ranked rows first, by rank and MAE, then partial trainings,
        by MAE, then the others by name. Empty without runs.
    """
    tables: dict[tuple[str, bool, int], tuple[list[Run], list[Run]]] = {}
    for part, each in enumerate((runs, edited)):
        for run in each:
            order = PROTOCOLS.index(run.protocol) if run.protocol in PROTOCOLS else len(PROTOCOLS)
            tables.setdefault((run.dataset, run.simulated, order), ([], []))[part].append(run)
    return [row for key in sorted(tables) for row in _table(*tables[key])]


def _table(runs: Sequence[Run], edited: Sequence[Run]) -> list[Row]:
    """Build the rows of one set under one protocol."""
    experiments = _experiments(runs)
    excluded = _excluded(experiments)
    shares = _shares(experiments, excluded)
    excluded = [
        reason or ("" if share is None else f"partial: {share:.0%} of the steps of its schedule")
        for reason, share in zip(excluded, shares, strict=True)
    ]
    compared = [e for e, reason in zip(experiments, excluded, strict=True) if not reason]
    splits = _compared_splits(compared)
    shown: list[Experiment] = []
    notes: list[str] = []
    partial: list[Row] = []
    others = [
        replace(experiment_row([run], f"{run.file} {run.edited}"), run_ids=()) for run in edited
    ]
    for experiment, reason, share in zip(experiments, excluded, shares, strict=True):
        if share is not None:
            (row,) = experiment_rows([experiment], [reason], partial=True)
            partial.append(
                replace(
                    row, share=share,
                    rank=None, rank_low=None, rank_high=None, least_difference=None,
                )
            )  # fmt: skip
            continue
        present = {run.split for run in experiment}
        if not reason and not splits <= present:
            reason = f"has no run of split {_listed(splits - present)}"
        if reason:
            others.append(experiment_row(experiment, reason))
            continue
        more = f"also ran on split {_listed(present - splits)}" if present - splits else ""
        shown.append([run for run in experiment if run.split in splits])
        notes.append(more)
    ranked = sorted(experiment_rows(shown, notes), key=_by_rank)
    partial.sort(key=_by_mae)
    others.sort(key=_by_name)
    return ranked + partial + others


def _experiments(runs: Sequence[Run]) -> list[Experiment]:
    """Group runs into experiments, whose runs differ only in split and seed."""
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
        # A split and seed occurs twice: trainings of different length, as two budgets give.
        lengths = sorted({run.iterations for run in group})
        experiments += [[run for run in group if run.iterations == n] for n in lengths]
    return experiments


def _excluded(experiments: Sequence[Experiment]) -> list[str]:
    """Return the reason why each experiment is not compared; empty for those that are."""
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


def _shares(experiments: Sequence[Experiment], excluded: Sequence[str]) -> list[float | None]:
    """Compute the share of its schedule that each experiment was trained for; None for all of it.

    The schedule of a method is the most frequent one among its experiments, the longest if several
    are as frequent, and never less than an experiment's own: fewer epochs, or a budget, make a
    partial training. (Records older than `whole_epochs` state the requested epochs as their
    schedule, hence the most frequent one.)
    """
    lengths: dict[str, Counter[float]] = {}
    for experiment, reason in zip(experiments, excluded, strict=True):
        epochs = experiment[0].schedule_epochs
        if not reason and epochs is not None:
            lengths.setdefault(base_method(experiment[0].method), Counter())[epochs] += 1
    shares: list[float | None] = []
    for experiment, reason in zip(experiments, excluded, strict=True):
        usual = lengths.get(base_method(experiment[0].method))
        share = 1.0
        if not reason and usual:
            schedule = max(usual, key=lambda epochs: (usual[epochs], epochs))
            schedule = max(schedule, *(run.schedule_epochs or 0 for run in experiment))
            share = min(run.epochs for run in experiment) / schedule
        # A budget that ends within the last epoch is complete but for rounding.
        shares.append(share if share < 0.995 else None)
    return shares


def _compared_splits(experiments: Sequence[Experiment]) -> set[int]:
    """Return the splits that all experiments have; if there is none, the one that most have."""
    present = [{run.split for run in experiment} for experiment in experiments]
    shared = set.intersection(*present) if present else set()
    if shared or not present:
        return shared
    count = Counter(split for splits in present for split in splits)
    return {min(count, key=lambda split: (-count[split], split))}


def _by_mae(row: Row) -> tuple[bool, float, str, str, str]:
    return row.mae is None, row.mae or 0.0, row.method, row.config_hash or "", row.weights


def _by_rank(row: Row) -> tuple[int, bool, float, str, str, str]:
    return row.rank or 0, *_by_mae(row)


def _by_name(row: Row) -> tuple[str, str, str, int, tuple[int, ...]]:
    return row.protocol, row.method, row.config_hash or "", row.recipe or 0, row.splits


def _listed(splits: set[int]) -> str:
    return ", ".join(str(split) for split in sorted(splits))
