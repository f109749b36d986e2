"""GPU memory that the runs of a plan need, from the records of their configs."""

from cellbench.errors import UserError
from cellbench.records.record_file import parse_record
from cellbench.records.summaries import Run
from cellbench.sweeps.gpus import Demand
from cellbench.sweeps.plan import Plan, State

# Most records read per config: their peaks hardly differ.
_MOST_RECORDS = 3


def demand_of(plan: Plan, *, products: set[str], retry_failed: bool = False) -> Demand:
    """Compute the GPU memory that the remaining runs of a plan need.

    Args:
        plan: plan with the states of its runs.
        products: names of the GPUs of this machine; records from these are preferred to records
            from other GPUs.
        retry_failed: whether failed runs are included.
    """
    wanted = {State.MISSING, State.ELSEWHERE} | ({State.FAILED} if retry_failed else set())
    waiting = [run for run in plan.runs if run.state in wanted]
    by_config: dict[str, list[Run]] = {}
    for run in plan.finished.runs:
        by_config.setdefault(run.config_hash, []).append(run)
    peaks: list[float] = []
    known = unknown = 0
    for config_hash in dict.fromkeys(run.experiment.config.hash for run in waiting):
        found = _peaks(by_config.get(config_hash, []), products)
        known += len(found)
        unknown += not found
        peaks += found
    return Demand(len(waiting), max(peaks, default=None), known, unknown)


def _peaks(runs: list[Run], products: set[str]) -> list[float]:
    """Return the peak MB of records made on a GPU, if possible one of the same product."""
    same: list[float] = []
    other: list[float] = []
    for run in runs:
        if len(same) >= _MOST_RECORDS:
            break
        if run.path is None:
            continue
        try:
            record = parse_record(run.path)
        except UserError:
            continue
        peak, environment = record.timing.peak_memory_mb, record.environment
        if peak is not None and environment.get("device") == "cuda":
            (same if environment.get("device_name") in products else other).append(peak)
    return same or other
