"""Slots: the places of concurrent runs on GPUs or the CPU."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

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


def make_slots(*, device: str, jobs: int | None, shares: Sequence[Share]) -> list[Slot]:
    """Create one slot for every concurrent run.

    Args:
        device: as for `cellbench run --device`.
        jobs: number of slots; None for one on a CPU, or the capacity of the GPUs.
        shares: number of runs for each GPU; empty on a CPU.

    Raises:
        UserError: more jobs than the GPUs take.
    """
    if not shares:
        count = jobs or 1
        return [Slot(f"job {i + 1}", thread_variables(count)) for i in range(count)]
    most = sum(share.runs for share in shares)
    cuda_named = shares[0].gpu.name.startswith("cuda")  # a name of --device, not of the driver
    if jobs is not None and jobs > most and not cuda_named:
        each = max(share.runs for share in shares)
        raise UserError(
            f"--jobs {jobs} is more than {len(shares)} GPU{'s' * (len(shares) > 1)} take at "
            f"{each} a GPU; raise --runs-per-gpu, or take --device cpu."
        )
    # Every GPU gets one run before any gets a second.
    turns = [
        share.gpu.name
        for turn in range(jobs if cuda_named and jobs else max(share.runs for share in shares))
        for share in shares
        if turn < share.runs or cuda_named
    ]
    chosen = turns[: jobs or most]
    threads = thread_variables(len(chosen))
    # Without names from the user, the names are nvidia-smi's numbers, which are in the order of the
    # bus; CUDA's own order begins with the fastest GPU.
    order = {} if "CUDA_VISIBLE_DEVICES" in os.environ else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return [
        Slot(
            name if cuda_named else f"GPU {name}",
            threads if cuda_named else {"CUDA_VISIBLE_DEVICES": name, **order, **threads},
            gpu=name,
        )
        for name in chosen
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
