"""`cellbench compare` whose runs are fake_run.py, and whose report is left out.

All else is the command itself.
"""

import functools
import sys
from pathlib import Path

from cellbench.cli.main import main
from cellbench.reports import comparison
from cellbench.sweeps import claims, preload, sweep, tasks

program = (sys.executable, str(Path(__file__).parent / "fake_run.py"))
tasks.Task = functools.partial(tasks.Task, program=program)
comparison.write_report = lambda folder, **options: [folder / "report.md"]
preload.start_server = lambda configs, environment: None  # fake runs need no libraries
claims.HEARTBEAT_S = 1.0
sweep.OTHERS_S = 0.3
main(["compare", *sys.argv[1:]])
