"""Ranking of experiments within a set and protocol.

Rows are ranked on the splits that all of them have; experiments that cannot be compared are listed
apart, with the reason.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cellbench.ranking.rows import (
    PROTOCOLS,
    UNRANKED_PROTOCOLS,
    Experiment,
    Row,
    base_method,
    experiment_row,
    experiment_rows,
)
from cellbench.ranking.schedules import trained_share, usual_schedule
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


@dataclass(slots=True)
class _Candidate:
    """Experiment that may be ranked in a table.

    Attributes:
        method: name of its method without the keys that `--set` changed.
        runs: its runs, at least one; they differ only in split and seed.
        reason: why it is not compared with the others; empty if it is.
        share: trained share of its method's schedule, below 1; None for a whole training.
    """

    method: str
    runs: Experiment
    reason: str = ""
    share: float | None = None

    @property
    def splits(self) -> set[int]:
        """Splits that it has runs of."""
        return {run.split for run in self.runs}


def _table(runs: Sequence[Run], edited: Sequence[Run]) -> list[Row]:
    """Build the rows of one set under one protocol."""
    candidates = [_Candidate(base_method(e[0].method), e) for e in _experiments(runs)]
    _exclude_unranked(candidates)
    _exclude_revisions(_compared(candidates))
    _exclude_partial(_compared(candidates))
    splits = _compared_splits(_compared(candidates))
    for each in _compared(candidates):
        if missing := splits - each.splits:
            each.reason = f"has no run of split {_listed(missing)}"
    ranked = _ranked_rows(_compared(candidates), splits)
    partial = [_partial_row(each) for each in candidates if each.share is not None]
    others = [
        replace(experiment_row([run], f"{run.file} {run.edited}"), run_ids=()) for run in edited
    ]
    others += [
        experiment_row(each.runs, each.reason)
        for each in candidates
        if each.reason and each.share is None
    ]
    ranked.sort(key=_by_rank)
    partial.sort(key=_by_mae)
    others.sort(key=_by_name)
    return ranked + partial + others


def _ranked_rows(candidates: Sequence[_Candidate], splits: set[int]) -> list[Row]:
    """Build the rows of candidates on the splits that all of them have."""
    shown = [[run for run in each.runs if run.split in splits] for each in candidates]
    further = [each.splits - splits for each in candidates]
    notes = [f"also ran on split {_listed(more)}" if more else "" for more in further]
    return experiment_rows(shown, notes)


def _partial_row(candidate: _Candidate) -> Row:
    """Build the row of a partial training, which has an interval but no rank."""
    (row,) = experiment_rows([candidate.runs], [candidate.reason], partial=True)
    return replace(
        row,
        share=candidate.share,
        rank=None,
        rank_low=None,
        rank_high=None,
        least_difference=None,
    )


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


def _compared(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Select the candidates that have no reason not to be compared."""
    return [each for each in candidates if not each.reason]


def _exclude_unranked(candidates: Sequence[_Candidate]) -> None:
    """Exclude candidates under a protocol without ranks or of an earlier recipe of their method."""
    newest: dict[str, int] = {}
    for each in candidates:
        recipe = each.runs[0].recipe
        newest[each.method] = max(recipe, newest.get(each.method, recipe))
    for each in candidates:
        run, current = each.runs[0], newest[each.method]
        if run.protocol in UNRANKED_PROTOCOLS or run.protocol not in PROTOCOLS:
            each.reason = f"protocol {run.protocol} is never ranked"
        elif run.recipe != current:
            each.reason = f"recipe {run.recipe}, current is {current}"


def _exclude_revisions(candidates: Sequence[_Candidate]) -> None:
    """Exclude candidates on another revision of the set than most of them."""
    count = Counter(each.runs[0].manifest_hash for each in candidates)
    most = min(count, key=lambda revision: (-count[revision], revision), default=None)
    for each in candidates:
        if each.runs[0].manifest_hash != most:
            each.reason = "another revision of the data set"


def _exclude_partial(candidates: Sequence[_Candidate]) -> None:
    """Exclude candidates that were not trained for the whole schedule of their method.

    The schedule of a method is the usual one among its experiments, and never less than an
    experiment's own: fewer epochs, or a budget, make a partial training.
    """
    methods: dict[str, list[Run]] = {}
    for each in candidates:
        methods.setdefault(each.method, []).append(each.runs[0])
    usual = {method: usual_schedule(runs) for method, runs in methods.items()}
    for each in candidates:
        schedule = usual[each.method]
        if schedule is None:
            continue
        schedule = max(schedule, *(run.schedule_epochs or 0 for run in each.runs))
        share = trained_share(min(run.epochs for run in each.runs), schedule)
        if share is not None:
            each.share = share
            each.reason = f"partial: {share:.0%} of the steps of its schedule"


def _compared_splits(candidates: Sequence[_Candidate]) -> set[int]:
    """Return the splits that all candidates have; if there is none, the one that most have."""
    if not candidates:
        return set()
    present = [each.splits for each in candidates]
    if shared := set.intersection(*present):
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
