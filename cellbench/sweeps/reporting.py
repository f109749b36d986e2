"""Progress of a run for the program that started it: a small JSON file, and the parent's id.

`cellbench run --report FILE` keeps the file up to date; `--with-parent` ends the run, with its
step saved, when the parent has gone. Sweeps use both; any other scheduler may.
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

# No more than this often, so that a step of a few milliseconds is not slowed down by its report.
EVERY_S = 0.5

# Between the request to stop and the end by force: a step and a checkpoint fit well.
GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        phase: "starting", "training", "scoring" or "done".
        step: steps done.
        steps: steps to do; 0 before that is known.
        loss: of the last step; None before the first.
        validation_mae: of the last look; None before the first.
        said: the last sentence.
        record: file of the record, once it is done.
        fresh: False if the record was there before.
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
    """Writes a run's progress, whole or not at all, and never fails the run."""

    def __init__(self, path: Path) -> None:
        """Remember where."""
        self.path = path
        self.progress = Progress()
        self.written_at = 0.0

    def update(self, *, now: bool = False, **changed: object) -> None:
        """Take in what changed.

        Args:
            now: write it even if the last time was a moment ago.
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
    """What a run last wrote; None where there is nothing, or nothing whole."""
    try:
        return read_fields(path, Progress)
    except (OSError, ValueError):
        return None


def stop_with_parent() -> None:
    """End this process as Ctrl-C does when its standard input closes or SIGTERM comes.

    A parent that holds the other end of the pipe needs not do anything for it: the system closes
    the pipe however the parent ends. On SIGUSR1 the process writes where it is to the log, so
    that a hang can be told apart from work.
    """
    # A background job of a shell starts with Ctrl-C ignored, and passes that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
    if hasattr(signal, "SIGUSR1"):
        import faulthandler

        faulthandler.register(signal.SIGUSR1, all_threads=True)
    threading.Thread(target=_watch, daemon=True, name="parent").start()


def _watch() -> None:
    with suppress(OSError, ValueError):
        while os.read(sys.stdin.fileno(), 4096):
            pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_S)
    os._exit(130)
