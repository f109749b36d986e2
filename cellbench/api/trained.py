"""`cellbench.run` and `cellbench.verify`: train and score a method, reproduce a record."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from cellbench.config.schema import ResolvedConfig
    from cellbench.engine.verify import Verification
    from cellbench.engine.work_progress import Display


@dataclass(frozen=True, slots=True)
class RunResult:
    """Result of a run: its record and folder.

    Attributes:
        record: content of the record's JSON file; None with `no_test`.
        record_file: path of that file.
        folder: folder with the weights, the log and pictures of test images.
        validation_mae: validation MAE of the weights kept, cells; None without a validation part.
        fresh: False if the run was finished before.
    """

    record: Mapping[str, Any] | None
    record_file: Path | None
    folder: Path
    validation_mae: float | None
    fresh: bool

    @property
    def row(self) -> "pd.DataFrame":
        """One row: the run and its metrics; empty without a record."""
        import pandas as pd

        record = self.record
        if record is None:
            return pd.DataFrame()
        keys = ("method", "dataset", "protocol", "split", "seed", "iterations")
        numbers = {k: v for k, v in record["metrics"].items() if not isinstance(v, list)}
        kept = {"validation_mae": self.validation_mae, "train_s": record["timing"]["train_s"]}
        return pd.DataFrame([{**{key: record[key] for key in keys}, **numbers, **kept}])


def run(
    config: str,
    *,
    dataset: str | None = None,
    split: int = 0,
    seed: int = 0,
    epochs: int | None = None,
    budget: float | None = None,
    device: str = "auto",
    protocol: str = "v1",
    overrides: Sequence[str] = (),
    strict: bool = False,
    resume: bool = True,
    no_test: bool = False,
    workers: int | None = None,
    store: str | None = None,
    display: "Display | None" = None,
) -> RunResult:
    """Train and score one method on one data set.

    A finished run shows its row; an interrupted one goes on where it stopped.

    Args:
        config: name or file of a config.
        dataset: use this data set instead of the config's.
        split: which split of the protocol.
        seed: seed of all random draws.
        epochs: passes over the training images.
        budget: fit the schedule to this time, such as 10m; in Python a number of seconds.
        device: one of auto, cpu, cuda or cuda:N.
        protocol: splits and selection rule.
        overrides: change one key, such as model.matcher.type=Hungarian; may be repeated.
        strict: stop if the real data set is not on disk.
        resume: go on where an interrupted run stopped (the default), or start it over.
        no_test: leave the test part unread and write no record: for recipes.
        workers: loader processes; auto goes by device and cores, 0 is a thread.
        store: folder of runs/ and leaderboards/.
        display: where progress is shown; nowhere by default.

    Returns:
        The record, its row and its folder.

    Raises:
        UserError: an argument or the config is invalid, or the data set is missing.
        RunError: the run cannot continue; its progress is kept.
    """
    started = time.monotonic()  # the budget includes imports
    if epochs is not None and budget is not None:
        raise UserError("--epochs and --budget both fix the length of the run; give one of them.")
    from cellbench.engine.request import Request, find_finished, resolve_run
    from cellbench.engine.work_progress import Display

    display = display or Display()
    request = Request(
        config=config,
        dataset=dataset,
        split=split,
        seed=seed,
        epochs=epochs,
        budget_s=budget,
        device=device,
        protocol=protocol,
        overrides=tuple(overrides),
        strict=strict,
        no_test=no_test,
        resume=resume,
        workers=workers,
        store=store,
    )
    # Mistakes are reported, and finished runs returned, before torch is loaded (seconds).
    asked = resolve_run(request, display.say)
    if budget is not None:
        display.say(_announcement(asked.experiment.config, split, budget))
    found = find_finished(asked)
    if found is None:
        with display.status("Loading torch"):
            from cellbench.engine.assembly import prepare
            from cellbench.engine.run import run_prepared
        found = run_prepared(prepare(asked), display, started)
    return RunResult(
        found.record, found.record_file, found.folder, found.validation_mae, found.fresh
    )


def _announcement(config: "ResolvedConfig", split: int, budget_s: float) -> str:
    """Return a message on what a run with a budget will do."""
    from cellbench.config.run_length import MEASURING, trained_by_steps
    from cellbench.durations import rough_duration

    what = f"{config.method.name} on {config.data.set}, split {split}"
    if not trained_by_steps(config):
        return f"{what}: this method is not trained by steps, so that --budget changes nothing."
    most = rough_duration(math.ceil(MEASURING * budget_s))
    return (
        f"{what}, in {rough_duration(budget_s)}: PyTorch is loaded, the first steps are timed for "
        f"at most {most}, and as many are trained as fit the rest."
    )


def verify(
    record: str | Path,
    *,
    store: str | None = None,
    device: str = "auto",
    train: bool = False,
    trust_weights: bool = False,
    display: "Display | None" = None,
) -> "Verification":
    """Score a record's test part again and say what differs.

    The weights in the run's folder are scored; where they are gone, the method is trained again.
    Exit code 0 if the record was reproduced, 1 if not. A method that runs in another Python takes
    it from the environment alone ($CELLBENCH_CELLPOSE_PYTHON, $CELLBENCH_STARDIST_PYTHON): one
    that was set in the run (--set model.python=) is refused, since a record names no program.

    Args:
        record: a record's file, or the id of a run.
        store: folder of runs/; the record's own by default.
        device: one of auto, cpu, cuda or cuda:N.
        train: train again even if the weights are there.
        trust_weights: score weights that are not the ones of the record.
        display: where progress is shown; nowhere by default.

    Returns:
        The differences, image by image; `same` is True if there are none.

    Raises:
        UserError: the record, its data set, weights or parts are missing or have changed.
    """
    from cellbench.engine.work_progress import Display
    from cellbench.records.record_file import read_record
    from cellbench.records.trained_runs import find_record_file, store_of

    path = find_record_file(str(record), store)
    read_record(path)  # reports a damaged record before torch is loaded, which takes seconds
    display = display or Display()
    with display.status("Loading torch"):
        from cellbench.engine.verify import verify_record
    return verify_record(
        path,
        store_of(path, store),
        device=device,
        train=train,
        trust_weights=trust_weights,
        display=display,
    )
