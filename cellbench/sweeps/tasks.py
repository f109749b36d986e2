"""Task of a sweep: the self-contained description of one run, the same on any machine."""

import dataclasses
import pprint
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cellbench.config.run_length import trained_by_steps
from cellbench.config.schema import ResolvedConfig
from cellbench.sweeps.task_files import CONFIG, PROGRESS

if TYPE_CHECKING:
    from cellbench.sweeps.plan import PlannedRun


@dataclass(frozen=True, slots=True)
class Task:
    """One run, ready to be started here or on another machine.

    Attributes:
        label: name for display.
        dataset: dataset name.
        config: text of a config file that resolves to the run's config, without bases.
        protocol: protocol name.
        split: split number.
        seed: seed.
        device: as for `cellbench run --device`.
        store: folder of runs and records.
        folder: folder of the run's log, progress and failure.
        stall_timeout_s: seconds without progress after which the run counts as hung.
        epochs: number of epochs if the command line replaces the config's.
        environment: variables to set for its process.
        program: program to start; empty for `python -m cellbench run`.
    """

    label: str
    dataset: str
    config: str
    protocol: str
    split: int
    seed: int
    device: str
    store: str
    folder: str
    stall_timeout_s: float
    epochs: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return the command line of the process; its config file has to be written first."""
        return [*(self.program or (sys.executable, "-m", "cellbench", "run")), *self.options()]

    def options(self) -> list[str]:
        """Return the command line without the program."""
        folder = Path(self.folder)
        return [
            str(folder / CONFIG),
            "--split", str(self.split),
            "--seed", str(self.seed),
            "--protocol", self.protocol,
            "--device", self.device,
            "--strict",
            "--store", self.store,
            "--report", str(folder / PROGRESS),
            "--with-parent",
            *([] if self.epochs is None else ["--epochs", str(self.epochs)]),
        ]  # fmt: skip


def make_task(run: "PlannedRun", store: Path, *, device: str, stall_timeout_s: float) -> Task:
    """Create the task of a planned run.

    Args:
        run: run of a plan.
        store: folder of runs and records.
        device: as for `cellbench run --device`.
        stall_timeout_s: seconds without progress after which the run counts as hung.
    """
    config, epochs = run.experiment.config, None
    if config.whole_epochs is not None and trained_by_steps(config):
        # Full schedule in the config, `--epochs` beside it: the record then has both.
        whole, epochs = replace(config.data, epochs=config.whole_epochs), config.data.epochs
        config = replace(config, data=whole, whole_epochs=None)
    return Task(
        label=run.label,
        dataset=run.dataset,
        config=config_text(config),
        protocol=run.experiment.protocol,
        split=run.experiment.split,
        seed=run.experiment.seed,
        device=device,
        store=str(store),
        folder=str(run.folder),
        stall_timeout_s=stall_timeout_s,
        epochs=epochs,
    )


def config_text(config: ResolvedConfig) -> str:
    """Write a config as a file of literals that resolves to the same config, tuples included."""
    # Recorded keys, but values from the dataclass: those of `plain` have lists for tuples.
    plain, values = config.plain(), dataclasses.asdict(config)
    kept = {
        key: {name: value[name] for name in plain[key]} if isinstance(value, dict) else value
        for key, value in values.items()
        if key in plain
    }
    lines = [
        f"{key} = {pprint.pformat(value, width=98, sort_dicts=False)}\n"
        for key, value in kept.items()
    ]
    return "# Written by cellbench compare: one run of it, complete.\n" + "".join(lines)
