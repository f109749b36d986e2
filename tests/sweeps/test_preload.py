"""Claims about what the process that runs are forked from imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellbench.config.compose import resolve
from cellbench.sweeps.preload import LIBRARIES, modules_for

CODE = """
import importlib, json, os, sys
import torch
from cellbench.sweeps import fork_server
torch.cuda._raw_device_count_nvml = lambda: 1  # as where there is a driver
for name in json.loads(sys.argv[1]):
    with fork_server._gpus_left_alone():
        importlib.import_module(name)
pid = os.fork()
if not pid:
    os._exit(torch.cuda._is_in_bad_fork())
print(json.dumps({
    "lost": os.waitpid(pid, 0)[1] != 0,
    "threads": len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1,
    "gpu": torch.cuda.is_initialized(),
    "modules": sorted(sys.modules),
}))
"""


@pytest.mark.slow
def test_the_imports_start_no_thread_touch_no_gpu_and_leave_little_to_a_run():
    configs = [resolve("methods/dla", dataset="adi"), resolve("methods/unet", dataset="mbm-sim")]
    modules = modules_for(configs)
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(modules)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["threads"] == 1
    assert not found["gpu"]
    assert not found["lost"]  # or no run that is forked could use a GPU
    assert {
        "torch", "scipy.optimize", "torchvision", "cellbench.engine.training",
        "cellbench_plugins.matchers.khm", "cellbench_plugins.convs.mdgc",
        "cellbench_plugins.methods.unet", "cellbench_plugins.transforms.stain",
        "cellbench_plugins.transforms.colour", "cellbench_plugins.datasets.adi",
        "cellbench_plugins.simulators.mbm",
    } <= set(found["modules"])  # fmt: skip


def test_the_list_is_of_names_each_once_the_libraries_first():
    modules = modules_for([resolve("methods/dla", dataset="adi")] * 3)
    assert modules[: len(LIBRARIES)] == list(LIBRARIES)
    assert len(modules) == len(set(modules))


def test_making_the_list_loads_none_of_it():
    code = (
        "import sys\n"
        "from cellbench.config.compose import resolve\n"
        "from cellbench.sweeps.preload import modules_for\n"
        "assert len(modules_for([resolve('methods/dla', dataset='adi')])) > 15\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0
