"""Slots: the places of concurrent runs on GPUs or the CPU."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

from cellbench.errors import UserError
from cellbench.sweeps.gpus import Share

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one run at a time.

    Attributes:
        name: name for display.
        environment: variables that confine a run to its GPU and its share of the cores.
        gpu: name of its GPU, which other slots may share; empty on a CPU.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    gpu: str = ""


def make_slots(*, jobs: int | None, shares: Sequence[Share]) -> list[Slot]:
    """Create one slot for every concurrent run.

    Args:
        jobs: number of slots; None for one on a CPU, or the capacity of the GPUs.
        shares: number of runs for each GPU; empty on a CPU.

    Raises:
        UserError: more jobs than the GPUs take.
    """
    if not shares:
        count = jobs or 1
        return [Slot(f"job {i + 1}", thread_variables(count)) for i in range(count)]
    if shares[0].gpu.name.startswith("cuda"):
        return _slots_of_device(shares, jobs)
    return _slots_of_driver(shares, jobs)


def _slots_of_device(shares: Sequence[Share], jobs: int | None) -> list[Slot]:
    """Create slots on GPUs with a name of `--device`, which alone places a run on its GPU."""
    names = [share.gpu.name for share in shares]
    count = jobs or sum(share.runs for share in shares)
    threads = thread_variables(count)
    return [Slot(name, threads, gpu=name) for name in islice(cycle(names), count)]


def _slots_of_driver(shares: Sequence[Share], jobs: int | None) -> list[Slot]:
    """Create slots on GPUs with a name of the driver, which confines a run to its GPU."""
    capacity = sum(share.runs for share in shares)
    most = max(share.runs for share in shares)
    if jobs is not None and jobs > capacity:
        raise UserError(
            f"--jobs {jobs} is more than {len(shares)} GPU{'s' * (len(shares) > 1)} take at "
            f"{most} a GPU; raise --runs-per-gpu, or take --device cpu."
        )
    # Every GPU gets one run before any gets a second.
    turns = [share.gpu.name for turn in range(most) for share in shares if turn < share.runs]
    names = turns[: jobs or capacity]
    threads = thread_variables(len(names))
    # Without names from the user, the names are nvidia-smi's numbers, which are in the order of the
    # bus; CUDA's own order begins with the fastest GPU.
    order = {} if "CUDA_VISIBLE_DEVICES" in os.environ else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return [
        Slot(f"GPU {name}", {"CUDA_VISIBLE_DEVICES": name, **order, **threads}, gpu=name)
        for name in names
    ]


def thread_variables(count: int) -> dict[str, str]:
    """Return thread variables for an equal share of the cores, unless the user has set them."""
    if count == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return dict.fromkeys(_THREADS, str(max(1, cores() // count)))


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
