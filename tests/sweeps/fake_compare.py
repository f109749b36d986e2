"""`cellbench compare` whose runs are fake_run.py; all else is the command itself."""

import functools
import sys
from pathlib import Path

from cellbench.cli.main import main
from cellbench.sweeps import claims, sweep, tasks

program = (sys.executable, str(Path(__file__).parent / "fake_run.py"))
tasks.Task = functools.partial(tasks.Task, program=program)
claims.HEARTBEAT_S = 1.0
sweep.OTHERS_S = 0.3
main(["compare", *sys.argv[1:]])
