"""Places to run: GPUs, or shares of the CPU."""

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field

from cellbench.errors import UserError

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one run at a time can be.

    Attributes:
        name: for people.
        environment: what keeps its run in its place.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)


def make_slots(*, device: str, jobs: int | None, runs_per_gpu: int) -> list[Slot]:
    """As many places as runs may go at once.

    Args:
        device: as `cellbench run` takes it.
        jobs: how many; by default one, or one a GPU.
        runs_per_gpu: how many share a GPU.

    Raises:
        UserError: more jobs than the GPUs take.
    """
    gpus = visible_gpus() if device in ("auto", "cuda") else []
    if not gpus:
        count = jobs or (runs_per_gpu if device.startswith("cuda") else 1)
        return [Slot(f"job {i + 1}", _threads(count)) for i in range(count)]
    most = len(gpus) * runs_per_gpu
    if jobs is not None and jobs > most:
        raise UserError(
            f"--jobs {jobs} is more than {len(gpus)} GPU{'s' * (len(gpus) > 1)} take at "
            f"{runs_per_gpu} a GPU; raise --runs-per-gpu, or take --device cpu."
        )
    count = jobs or most
    return [
        Slot(f"GPU {gpus[i % len(gpus)]}", {"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]})
        if count == 1
        else Slot(
            f"GPU {gpus[i % len(gpus)]}",
            {"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)], **_threads(count)},
        )
        for i in range(count)
    ]


def visible_gpus() -> list[str]:
    """The GPUs that a process started here would see, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
        return [line.strip() for line in done.stdout.splitlines() if line.strip().isdigit()]
    return []


def _threads(count: int) -> dict[str, str]:
    """An equal share of the cores for each of several runs, unless the user has set one."""
    if count == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return dict.fromkeys(_THREADS, str(max(1, cores() // count)))


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
