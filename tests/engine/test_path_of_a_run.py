"""Claims about the path of a run: how much of it is ours; a finished one needs no torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Runs a command and prints how many functions of cellbench and its plugins were entered up to the
# first step and in all, in how many files, and whether torch was loaded.
TRACE = """
import json, sys
root = sys.argv.pop(1)
entered, first = {}, {}
APART = ("<module>", "<lambda>", "<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>")

def count(frame, event, argument):
    code = frame.f_code
    ours = code.co_filename.startswith(root) and "site-packages" not in code.co_filename
    ours = ours and code.co_flags & 0x2  # not the body of a class
    if event != "call" or not ours or code.co_name in APART:
        return
    if code.co_filename.endswith("loss_watch.py") and not first:
        first.update(entered)
    entered[code.co_filename, code.co_qualname] = True

sys.setprofile(count)
from cellbench.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
sys.setprofile(None)
files = len({file for file, _ in entered})
found = {"first": len(first), "all": len(entered), "files": files, "torch": "torch" in sys.modules}
print(json.dumps(found))
"""

# What was measured; it may only become less, but for what a user gets for it: seven functions
# bootstrap the interval of the row that a run ends with, one leaves it out where nothing was held
# out, one names the groups of own sets, three find a plugin that a folder of its name hides, two
# check the files and the set of a record, one hashes a config as records do, and two name a variant
# shortly in its row; a file for what a counter takes ended circles of imports, and one for lengths
# of time replaced four spellings. With the real set
# and its weights it is some 20 less: a simulated set is drawn once more to see that it is the one
# of this version. One thread is asked for, whatever the machine has: several would match images in
# threads of their own, whose five functions no profile of the main one sees.
MOST_BEFORE_THE_FIRST_STEP, MOST_IN_ALL, MOST_FILES = 181, 413, 101

pytestmark = pytest.mark.slow

RUN = (
    "run", "configs/dla_adi.py", "--dataset", "adi-sim", "--protocol", "smoke", "--epochs", "1",
    "--set", "model.backbone.strides=[2, 4]", "--set", "model.backbone.weights=None",
    "--set", "model.backbone.frozen_stages=0", "--set", "data.batch_size=2",
    "--set", "data.augment.0.size=64", "--set", "schedule.validations=1", "--device", "cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def traced(simulated_home, tmp_path_factory):
    """What was counted in a run, and in the same command once it is finished."""
    environment = {
        **os.environ,
        "CELLBENCH_HOME": str(simulated_home),
        "CELLBENCH_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "CELLBENCH_STORE": str(tmp_path_factory.mktemp("store")),
    }
    outputs = [
        subprocess.run(
            [sys.executable, "-c", TRACE, str(ROOT), *RUN],
            capture_output=True, text=True, check=True, env=environment,
        ).stdout.splitlines()
        for _ in range(2)
    ]  # fmt: skip
    return [json.loads(lines[-1]) for lines in outputs], outputs[1]


def test_a_run_enters_no_more_functions_of_ours_than_it_did(traced):
    (run, _), _ = traced
    assert 0 < run["first"] <= MOST_BEFORE_THE_FIRST_STEP
    assert run["all"] <= MOST_IN_ALL
    assert run["files"] <= MOST_FILES


def test_a_finished_run_shows_its_row_without_torch(traced):
    (run, again), lines = traced
    assert run["torch"]
    assert not again["torch"]
    assert again["first"] == 0
    assert any("This run is finished" in line for line in lines)
    assert any("DLA" in line for line in lines)
