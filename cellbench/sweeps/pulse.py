"""Whether a process gets on, seen from outside."""

import os
import time
from contextlib import suppress
from pathlib import Path

from cellbench.sweeps.reporting import Progress, read_progress
from cellbench.sweeps.task_files import LOG, PROGRESS

# Of the time that it is watched; a process that waits for nothing uses less.
_WORKS = 0.01


class Pulse:
    """Looks at what a run reports, what it writes to its log, and what it computes.

    While it trains by steps, only a step or a line counts: an endless loop computes too. Before
    the first step and after the last (imports, drawing, methods that train themselves, scoring)
    there is nothing to report, and computing counts.
    """

    def __init__(self, pid: int, folder: Path, *, timeout_s: float) -> None:
        """Begin to watch.

        Args:
            pid: of the process.
            folder: of its log and progress file.
            timeout_s: without a sign of life for so long it hangs.
        """
        self.pid = pid
        self.log, self.report = folder / LOG, folder / PROGRESS
        self.timeout_s = timeout_s
        self.progress: Progress | None = None
        self._written = -1
        self._alive()

    def look(self) -> Progress | None:
        """Read the progress; None if it has not changed."""
        progress = read_progress(self.report)
        written = self.log.stat().st_size if self.log.exists() else 0
        changed = progress is not None and progress != self.progress
        if changed or written != self._written:
            self._written = written
            self._alive()
        if not changed:
            return None
        self.progress = progress
        return progress

    def stalled(self) -> bool:
        """Whether there was no sign of life for too long."""
        if time.monotonic() - self._seen_at <= self.timeout_s:
            return False
        steps = self.progress is not None and self.progress.phase == "training"
        if steps and self.progress is not None and self.progress.step > 0:
            return True
        if cpu_s(self.pid) - self._cpu_s < _WORKS * self.timeout_s:
            return True
        self._alive()
        return False

    def _alive(self) -> None:
        self._seen_at = time.monotonic()
        self._cpu_s = cpu_s(self.pid)


def cpu_s(pid: int) -> float:
    """Processor seconds of a process of this machine; 0 where unknown."""
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
