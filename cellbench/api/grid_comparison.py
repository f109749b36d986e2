"""`cellbench.compare`: run every combination of a grid and tabulate the results."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING

from cellbench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from cellbench.sweeps.grid_run import GridOutcome
    from cellbench.sweeps.sweep import View


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of a comparison: the runs of a grid and their tables.

    Attributes:
        outcome: the plan, the finished runs and the files of the report.
    """

    outcome: "GridOutcome"

    @property
    def runs(self) -> "pd.DataFrame":
        """One row per run: label, dataset, protocol, split, seed, state, reason, mae, rmse, f1."""
        import pandas as pd

        return pd.DataFrame(
            {
                "label": run.label,
                "dataset": run.dataset,
                "protocol": run.experiment.protocol,
                "split": run.experiment.split,
                "seed": run.experiment.seed,
                "state": run.state.value,
                "reason": "" if run.failure is None else run.failure.reason,
                **{
                    name: None if run.record is None else run.record.metrics.get(name)
                    for name in ("mae", "rmse", "f1")
                },
            }
            for run in self.outcome.plan.runs
        )

    @property
    def tables(self) -> "dict[str, pd.DataFrame]":
        """Tables by set and protocol: one row per combination, with the texts of the report.

        For a grid that combines several grids, tables by grid title, set and protocol.
        """
        import pandas as pd

        from cellbench.reports.grid_results import measured_sets
        from cellbench.reports.grid_sheets import cells_sheet

        several = len(self.outcome.parts) > 1
        sheets = {
            f"{part.title}: {measured.title}" if several else measured.title: cells_sheet(measured)
            for part in self.outcome.parts
            for measured in measured_sets(part.done)
        }
        return {
            title: pd.DataFrame(sheet.rows, columns=[name for _, name in sheet.heads])
            for title, sheet in sheets.items()
        }


def compare(
    grid: str = "components",
    *,
    datasets: Sequence[str] | str = (),
    splits: Sequence[int] = (),
    seeds: Sequence[int] = (),
    protocol: str | None = None,
    epochs: int | None = None,
    budget: float | None = None,
    overrides: Sequence[str] = (),
    share: tuple[int, int] | None = None,
    device: str = "auto",
    jobs: int | None = None,
    runs_per_gpu: int | None = None,
    executor: str = "local",
    address: str | None = None,
    cpus_per_run: int | None = None,
    dry_run: bool = False,
    retry_failed: bool = False,
    no_wait: bool = False,
    stall_timeout: float = 1800.0,
    store: str | None = None,
    view: "View | None" = None,
) -> Comparison:
    """Run every combination of a grid that is missing, and show the tables.

    GRID is a file of configs/grids: components (the default), baselines, methods, table2 to table5,
    released, all of these (all), or one of your own. Several calls over one store share the work;
    the same command goes on where it was.

    Args:
        grid: name or file.
        datasets: such as adi,vgg or adi-sim; the grid's by default.
        splits: such as 0-4 or 0,2; the grid's by default.
        seeds: such as 0-2; the grid's by default.
        protocol: splits and selection rule; the grid's by default.
        epochs: passes over the training images.
        budget: fit each run's steps to this time, such as 8m; in Python a number of seconds.
        overrides: change a key of every run.
        share: such as 2/4 for the second of four shares of the runs, so that machines without a
            common disk do one each; `cellbench records add` brings their records together.
        device: one of auto, cpu, cuda or cuda:N.
        jobs: runs at once; by default 1, or as GPUs allow.
        runs_per_gpu: runs that share a GPU; auto depends on its memory, the CPU's cores and what
            was measured.
        executor: this machine, or Ray (pip install 'cellbench[ray]').
        address: address of a Ray cluster, or auto; by default Ray is started on this machine.
        cpus_per_run: cores that Ray reserves for a run.
        dry_run: print the plan and stop.
        retry_failed: start failed runs again.
        no_wait: do not wait for runs that other sweeps hold.
        stall_timeout: time without progress after which a run counts as hanging.
        store: folder of runs/ and leaderboards/.
        view: where progress is shown; nowhere by default.

    Returns:
        The runs with their states, and the tables of those that are finished. A run that fails
        stops no others.

    Raises:
        UserError: the grid or an argument is invalid, or none of its sets can be used.
    """
    if epochs is not None and budget is not None:
        raise UserError("--epochs and --budget both fix the length of the run; give one of them.")
    if executor == "local" and (address or cpus_per_run):
        raise UserError("--address and --cpus-per-run are Ray's; add --executor ray.")
    from cellbench import paths
    from cellbench.sweeps.combinations import GridOverrides
    from cellbench.sweeps.grid_run import ExecutionOptions, run_grid
    from cellbench.sweeps.sweep import View

    if isinstance(datasets, str):  # as --datasets takes it
        datasets = [name.strip() for name in datasets.split(",")]
    grid_overrides = GridOverrides(
        datasets=tuple(datasets),
        splits=_whole("splits", splits),
        seeds=_whole("seeds", seeds),
        protocol=protocol or "",
        epochs=epochs,
        budget_s=budget,
        overrides=tuple(overrides),
        share=share,
    )
    where = ExecutionOptions(
        device, jobs, runs_per_gpu, executor, address, cpus_per_run, stall_timeout
    )
    return Comparison(
        run_grid(
            grid,
            grid_overrides,
            paths.store(store).absolute(),
            where,
            dry_run=dry_run,
            retry_failed=retry_failed,
            wait_for_others=not no_wait,
            view=view or View(),
        )
    )


def _whole(name: str, numbers: Sequence[int]) -> tuple[int, ...]:
    """Convert splits or seeds to Python integers, since NumPy's cannot be written as JSON."""
    try:
        return tuple(index(number) for number in numbers)
    except TypeError:
        raise UserError(
            f"{name} is a list of whole numbers, such as [0, 1]; not {numbers!r}."
        ) from None
