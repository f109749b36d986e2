"""What the process of one run is given; small, complete, and the same on any machine."""

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
        label: for people.
        dataset: name of the set.
        config: text of a config file that resolves to the run's config, all bases taken in.
        protocol: name.
        split: number.
        seed: number.
        device: as `cellbench run` takes it.
        store: folder of runs and records.
        folder: of the run's log, progress and failure.
        stall_timeout_s: a run that shows no progress for so long hangs.
        epochs: passes, where the command line asks for others than the config's own.
        environment: variables that are set for its process.
        program: what is started; `python -m cellbench run` where it is empty.
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
        """The command line of the process; its config file has to be written first."""
        return [*(self.program or (sys.executable, "-m", "cellbench", "run")), *self.options()]

    def options(self) -> list[str]:
        """The command line without the program."""
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


def task_of(run: "PlannedRun", store: Path, *, device: str, stall_timeout_s: float) -> Task:
    """The task of a planned run.

    Args:
        run: of a plan.
        store: folder of runs and records.
        device: as `cellbench run` takes it.
        stall_timeout_s: a run that shows no progress for so long hangs.
    """
    config, epochs = run.experiment.config, None
    if config.whole_epochs is not None and trained_by_steps(config):
        # As the user gave it, so that the record has the whole schedule beside what was asked for.
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
    """A config file of literals alone that resolves to the same config, tuples and all."""
    # The keys are those that are recorded, the values as they are: JSON knows no tuples.
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
