"""Failure files: the reason why a run failed, and the path of its log."""

import json
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cellbench.errors import LACK_OF_MEMORY
from cellbench.files.reading import read_fields
from cellbench.files.writing import write_atomically
from cellbench.sweeps.task_files import LOG

_NAME = "failure.json"
_TAIL = 20_000

_NO_MEMORY = "it ran out of memory"


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that ended without a record.

    Attributes:
        run: label of the run.
        reason: one sentence without its full stop.
        log: path of its output.
        command: command line of the same run alone.
        when: time of the failure, UTC, ISO 8601.
        seconds: duration.
    """

    run: str
    reason: str
    log: str
    command: str
    when: str
    seconds: float


def write_failure(folder: Path, *, run: str, reason: str, command: str, seconds: float) -> Failure:
    """Write the failure of a run to its folder.

    Raises:
        UserError: it cannot be written.
    """
    failure = Failure(
        run=run,
        reason=reason,
        log=str(folder / LOG),
        command=command,
        when=datetime.now(UTC).isoformat(timespec="milliseconds"),
        seconds=round(seconds, 1),
    )
    write_atomically(folder / _NAME, (json.dumps(asdict(failure), indent=1) + "\n").encode())
    return failure


def read_failure(folder: Path) -> Failure | None:
    """Read the failure of the run of a folder; None if there is none, or it is incomplete."""
    try:
        return read_fields(folder / _NAME, Failure)
    except (OSError, ValueError):
        return None


def forget_failure(folder: Path) -> None:
    """Delete the failure of the run of a folder."""
    with suppress(OSError):
        (folder / _NAME).unlink(missing_ok=True)


def reason_for(returncode: int, said: str) -> str:
    """Describe why a process ended, as half a sentence.

    Args:
        returncode: as in `subprocess`; negative for a signal.
        said: end of its output.
    """
    if LACK_OF_MEMORY.search(said):
        return _NO_MEMORY + _last_line(said, prefix=": ")
    if returncode < 0:
        with suppress(ValueError):
            name = signal.Signals(-returncode).name
            hint = ", as the system does when memory is all" if name == "SIGKILL" else ""
            return f"its process was ended by {name}{hint}"
        return f"its process was ended by signal {-returncode}"
    return _last_line(said) or f"its process ended with exit code {returncode} and said nothing"


def ran_out_of_memory(reason: str) -> bool:
    """Whether a reason from `reason_for` is a lack of memory."""
    return reason.startswith(_NO_MEMORY)


def end_of(log: Path) -> str:
    """Return the last lines of a log; empty if there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _last_line(output: str, prefix: str = "") -> str:
    """Return the last line that cellbench printed about an error, else the last line."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    lines = [line for line in lines if line and not line.startswith("--- ")]
    errors = [line.removeprefix("cellbench: ") for line in lines if line.startswith("cellbench: ")]
    chosen = (errors or lines or [""])[-1].rstrip(".")[:400]
    return prefix + chosen if chosen else ""
