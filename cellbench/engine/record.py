"""What a finished run leaves: its record, made from what was measured."""

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cellbench import plugin_index
from cellbench.engine.devices import Processes
from cellbench.models.counter import CellCounter
from cellbench.version import __version__


def plugins_of(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """Every part that a config names, with the distribution and version it came from."""
    data = config["data"]
    transforms = [*data.get("augment", []), *data.get("prepare", [])]
    named = {
        *plugin_index.named_parts(config["model"], "counter"),
        *plugin_index.named_parts(transforms, "transform"),
    }
    found = {part: entry for part in named for entry in plugin_index.find(*part)}
    return [
        {
            "role": entry.role,
            "name": entry.name,
            "distribution": entry.distribution,
            "version": entry.version,
        }
        for _, entry in sorted(found.items())
    ]


def parameter_count(counter: CellCounter) -> int:
    """The number of parameters of a method, trained or not; what it learned otherwise with them."""
    learned = [getattr(counter, name) for name in counter.learned_buffers]
    return sum(tensor.numel() for tensor in [*counter.parameters(), *learned])


def gflops(counter: CellCounter, data: dict[str, Any]) -> float | None:
    """Multiply-adds of one prediction, times two, in 1e9; None where it cannot be counted.

    The prediction is in float32, for which a GPU may lack the memory that bfloat16 did with.

    Args:
        counter: the method.
        data: a batch of whole images; its first image is counted.
    """
    from torch.utils.flop_counter import FlopCounterMode

    one = dict(data, arrays=data["arrays"][:1], image_ids=data["image_ids"][:1])
    training = counter.training
    counter.eval()
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counted:
            counter.infer(counter.data_preprocessor(one)["images"])
    except torch.OutOfMemoryError:  # at the end of a run, which would be lost
        return None
    finally:
        counter.train(training)
    total = counted.get_total_flops()
    return round(total / 1e9, 3) if total else None


def environment(
    device: torch.device, precision: str, processes: Processes, *, fold: bool
) -> dict[str, Any]:
    """Where and how a run was computed; never part of what identifies it."""
    import mmengine
    import numpy
    import torchvision

    return {
        "cellbench": __version__,
        "commit": git_commit(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": torchvision.__version__,
        "mmengine": mmengine.__version__,
        "numpy": numpy.__version__,
        "device": device.type,
        "device_name": device_name(device),
        "precision": precision,
        "batch_norms": "folded" if fold else "separate",  # in inference
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "processes": processes.world,
        "platform": platform.platform(),
    }


def device_name(device: torch.device) -> str:
    """The product name of a GPU, or the instruction set that torch uses on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def peak_memory_mb(device: torch.device) -> float:
    """The most memory taken so far: of the GPU, or by this process."""
    if device.type == "cuda":
        # What others cannot have: captured graphs keep memory that no tensor is said to use.
        return round(torch.cuda.max_memory_reserved(device) / 2**20, 1)
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def git_commit() -> str | None:
    """The commit of the checkout that cellbench runs from, with `+` if it is changed; else None."""
    folder = Path(__file__).parents[1]
    try:
        # An environment inside another project's checkout is not that project's commit.
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(
            folder, "status", "--porcelain", "--", str(folder), "../plugins", "../configs"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()
