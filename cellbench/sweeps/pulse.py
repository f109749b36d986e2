"""Hang detection: monitor the progress file, log and processor time of a run's process."""

import os
import time
from contextlib import suppress
from pathlib import Path

from cellbench.sweeps.reporting import Progress, read_progress
from cellbench.sweeps.task_files import LOG, PROGRESS

# Share of the timeout: a process that uses less processor time than this is not computing.
_BUSY_SHARE = 0.01


class HangMonitor:
    """Monitor of a run's progress, log and processor time.

    While it trains by steps, only new progress or log lines count as activity, since an endless
    loop uses processor time, too. Before the first step and after the last (imports, simulation,
    methods that train themselves, scoring) there is nothing to report, and processor time counts.
    """

    def __init__(self, pid: int, folder: Path, *, timeout_s: float) -> None:
        """Start the timeout.

        Args:
            pid: id of the process.
            folder: folder of its log and progress file.
            timeout_s: seconds without activity after which the run counts as hung.
        """
        self.pid = pid
        self.log, self.report = folder / LOG, folder / PROGRESS
        self.timeout_s = timeout_s
        self.progress: Progress | None = None
        self._log_size = -1
        self._note_activity()

    def look(self) -> Progress | None:
        """Read the progress and note activity; return None if the progress has not changed."""
        progress = read_progress(self.report)
        log_size = self.log.stat().st_size if self.log.exists() else 0
        changed = progress is not None and progress != self.progress
        if changed or log_size != self._log_size:
            self._log_size = log_size
            self._note_activity()
        if not changed:
            return None
        self.progress = progress
        return progress

    def stalled(self) -> bool:
        """Whether there was no activity for longer than the timeout."""
        if time.monotonic() - self._active_at <= self.timeout_s:
            return False
        steps = self.progress is not None and self.progress.phase == "training"
        if steps and self.progress is not None and self.progress.step > 0:
            return True
        if cpu_s(self.pid) - self._cpu_s < _BUSY_SHARE * self.timeout_s:
            return True
        self._note_activity()
        return False

    def _note_activity(self) -> None:
        self._active_at = time.monotonic()
        self._cpu_s = cpu_s(self.pid)


def cpu_s(pid: int) -> float:
    """Return the processor time of a process of this machine in s; 0 if unknown."""
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
