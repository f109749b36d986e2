"""Fields of a run's record: plugins, parameters, FLOPs, memory and environment."""

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
    """List the parts that a config names, with their distributions and versions."""
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
    """Count the parameters of a method, frozen ones and `learned_buffers` included."""
    learned = [getattr(counter, name) for name in counter.learned_buffers]
    return sum(tensor.numel() for tensor in [*counter.parameters(), *learned])


def gflops(counter: CellCounter, data: dict[str, Any]) -> float | None:
    """Count the GFLOPs of one prediction, two per multiply-add; None if they cannot be counted.

    The prediction is in float32, which may exceed the memory of a GPU where bfloat16 fits.

    Args:
        counter: the method.
        data: a batch of whole images, of which the first is used.
    """
    from torch.utils.flop_counter import FlopCounterMode

    one = dict(data, arrays=data["arrays"][:1], image_ids=data["image_ids"][:1])
    training = counter.training
    counter.eval()
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counted:
            counter.infer(counter.data_preprocessor(one)["images"])
    except torch.OutOfMemoryError:  # raised at the end of a run, it would lose the run
        return None
    finally:
        counter.train(training)
    total = counted.get_total_flops()
    return round(total / 1e9, 3) if total else None


def environment(
    device: torch.device, precision: str, processes: Processes, *, fold: bool
) -> dict[str, Any]:
    """Return versions, hardware and precision of a run, which are not part of its run id."""
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
    """Return the product name of a GPU, or the instruction set that torch uses on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory so far in MiB, of the GPU or of this process."""
    if device.type == "cuda":
        # Reserved memory, not allocated: captured graphs keep some that counts for no tensor.
        return round(torch.cuda.max_memory_reserved(device) / 2**20, 1)
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def git_commit() -> str | None:
    """Return the commit of cellbench's own checkout, with `+` if it is changed; else None."""
    folder = Path(__file__).parents[1]
    try:
        # cellbench installed inside another project's checkout has not that project's commit.
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
