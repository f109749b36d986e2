"""Progress file of a run, and its stop when the parent process ends.

`cellbench run --report FILE` keeps the JSON file up to date; `--with-parent` ends the run, with its
step saved, when the parent has ended. Sweeps use both; any other scheduler may.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cellbench.files.reading import read_fields

# Shortest interval between writes, so that they do not slow down steps of a few milliseconds.
EVERY_S = 0.5

# From the request to stop to the kill: longer than a step and a checkpoint take.
GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run.

    Attributes:
        phase: "starting", "training", "scoring" or "done".
        step: number of finished steps.
        steps: total number of steps; 0 while unknown.
        loss: loss of the last step; None before the first.
        validation_mae: MAE of the last validation; None before the first.
        said: last message.
        record: file of the record; None until the run is done.
        fresh: False if the record existed before the run.
    """

    phase: str = "starting"
    step: int = 0
    steps: int = 0
    loss: float | None = None
    validation_mae: float | None = None
    said: str = ""
    record: str | None = None
    fresh: bool = True


class ProgressFile:
    """Writer of a run's progress file: atomic, and write errors do not fail the run."""

    def __init__(self, path: Path) -> None:
        """Set the path; nothing is written yet."""
        self.path = path
        self.progress = Progress()
        self.written_at = 0.0

    def update(self, *, now: bool = False, **changed: object) -> None:
        """Update the progress, and write it unless it was written less than `EVERY_S` ago.

        Args:
            now: write in any case.
            changed: attributes of `Progress`.
        """
        self.progress = Progress(**{**asdict(self.progress), **changed})
        moment = time.monotonic()
        if not now and moment - self.written_at < EVERY_S:
            return
        self.written_at = moment
        temporary = self.path.with_name(f".{self.path.name}.partial")
        with suppress(OSError):
            temporary.write_text(json.dumps(asdict(self.progress)))
            temporary.replace(self.path)


def read_progress(path: Path) -> Progress | None:
    """Read the progress of a run; None if the file is missing or incomplete."""
    try:
        return read_fields(path, Progress)
    except (OSError, ValueError):
        return None


def stop_with_parent() -> None:
    """Interrupt this process, like Ctrl-C, when its standard input closes or on SIGTERM.

    A parent that holds the other end of the pipe need not do anything: the system closes the pipe
    however the parent ends. On SIGUSR1 the process writes its stack to the log, which shows where
    it hangs.
    """
    # Background jobs of a shell ignore Ctrl-C, and their children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
    if hasattr(signal, "SIGUSR1"):
        import faulthandler

        faulthandler.register(signal.SIGUSR1, all_threads=True)
    threading.Thread(target=_interrupt_when_closed, daemon=True, name="parent").start()


def _interrupt_when_closed() -> None:
    with suppress(OSError, ValueError):
        while os.read(sys.stdin.fileno(), 4096):
            pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_S)
    os._exit(130)
