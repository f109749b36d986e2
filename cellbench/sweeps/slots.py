"""Places to run: shares of GPUs, or of the CPU."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from cellbench.errors import UserError
from cellbench.sweeps.gpus import Share

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one run at a time can be.

    Attributes:
        name: for people.
        environment: what keeps its run in its place.
        gpu: name of its GPU, which other slots may share; empty on a CPU.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    gpu: str = ""


def make_slots(*, device: str, jobs: int | None, shares: Sequence[Share]) -> list[Slot]:
    """As many places as runs may go at once.

    Args:
        device: as `cellbench run` takes it.
        jobs: how many; by default one, or as many as the GPUs take.
        shares: how many runs each GPU takes; empty on a CPU.

    Raises:
        UserError: more jobs than the GPUs take.
    """
    if not shares:
        count = jobs or 1
        return [Slot(f"job {i + 1}", threads_of(count)) for i in range(count)]
    most = sum(share.runs for share in shares)
    named = shares[0].gpu.name.startswith("cuda")  # as --device says it, not for the driver
    if jobs is not None and jobs > most and not named:
        each = max(share.runs for share in shares)
        raise UserError(
            f"--jobs {jobs} is more than {len(shares)} GPU{'s' * (len(shares) > 1)} take at "
            f"{each} a GPU; raise --runs-per-gpu, or take --device cpu."
        )
    # One on every GPU before the second on any.
    turns = [
        share.gpu.name
        for turn in range(jobs if named and jobs else max(share.runs for share in shares))
        for share in shares
        if turn < share.runs or named
    ]
    chosen = turns[: jobs or most]
    threads = threads_of(len(chosen))
    # Where the user names no GPUs, the names are nvidia-smi's numbers; CUDA's own begin with the
    # fastest.
    order = {} if "CUDA_VISIBLE_DEVICES" in os.environ else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return [
        Slot(
            name if named else f"GPU {name}",
            threads if named else {"CUDA_VISIBLE_DEVICES": name, **order, **threads},
            gpu=name,
        )
        for name in chosen
    ]


def threads_of(count: int) -> dict[str, str]:
    """An equal share of the cores for each of several runs, unless the user has set one."""
    if count == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return dict.fromkeys(_THREADS, str(max(1, cores() // count)))


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
