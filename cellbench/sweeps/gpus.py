"""The GPUs of this machine, and how many runs share each."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

# The most that was measured: on one H200 with 16 cores 16 runs at a time did 5 times the work of
# one at a time.
MEASURED_RUNS = 16

# What a run takes beside its tensors (driver context, kernels), and how much more the allocator
# reserves than it hands out, which the first records state.
CONTEXT_MB = 600.0
RESERVE = 1.25

# Of a run of which no record on a GPU tells: several times what the methods took that were
# measured (70 to 640 MB).
GUESS_MB = 3000.0

# Of the free memory; the rest is for whatever else starts.
_USED = 0.9


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that a process started here would see.

    Attributes:
        name: as CUDA_VISIBLE_DEVICES takes it.
        product: such as "NVIDIA H200"; empty where unknown.
        free_mb: memory that nobody uses; None where unknown.
    """

    name: str
    product: str = ""
    free_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """What the runs of a sweep ask for.

    Attributes:
        runs: how many are to be done.
        peak_mb: the most GPU memory that one of them is known to use; None where unknown.
        records: how many records tell.
        unknown: how many of the methods no record tells of.
    """

    runs: int
    peak_mb: float | None = None
    records: int = 0
    unknown: int = 0

    @property
    def need_mb(self) -> float:
        """Memory to keep free for a run."""
        known = 0.0 if self.peak_mb is None else self.peak_mb * RESERVE + CONTEXT_MB
        guess = GUESS_MB if self.unknown or self.peak_mb is None else 0.0
        return max(known, guess)

    @property
    def source(self) -> str:
        """Where `need_mb` is from, for people."""
        if self.peak_mb is None:
            return "a guess, as no record tells"
        by = f"by {self.records} record{'s' * (self.records != 1)}"
        return f"{by}, and a guess for {self.unknown} more" if self.unknown else by


@dataclass(frozen=True, slots=True)
class Share:
    """How many runs share a GPU.

    Attributes:
        gpu: which.
        runs: 0 where others hold its memory and another GPU has room.
        reason: one sentence; empty where the user has set the number.
    """

    gpu: Gpu
    runs: int
    reason: str = ""


def visible_gpus(device: str = "auto") -> list[Gpu]:
    """The GPUs that runs on a device can use; empty for a CPU.

    Args:
        device: as `cellbench run` takes it; cuda:N is the N-th that is visible, under that name,
            and cuda stands for itself where no driver tool lists any.
    """
    if device not in ("auto", "cuda") and not device.startswith("cuda:"):
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = None if given is None else [name.strip() for name in given.split(",")]
    found = _chosen(names) if names != [""] else []
    if not device.startswith("cuda:"):
        return found or ([Gpu(device)] if device == "cuda" and names is None else [])
    number = device.partition(":")[2]
    chosen = found[int(number)] if number.isdigit() and int(number) < len(found) else Gpu("")
    return [Gpu(device, chosen.product, chosen.free_mb)]


def share_gpus(
    gpus: Sequence[Gpu], *, runs_per_gpu: int | None, demand: Demand, cores: int
) -> list[Share]:
    """How many runs at a time each GPU takes.

    Args:
        gpus: from `visible_gpus`.
        runs_per_gpu: set by the user; None has it chosen by memory, by cores, and by what was
            measured.
        demand: of the runs.
        cores: of the CPU; a run keeps about one busy.
    """
    if runs_per_gpu is not None:
        return [Share(gpu, runs_per_gpu) for gpu in gpus]
    # Where none has room for a run, one is tried on each.
    roomy = [gpu for gpu in gpus if gpu.free_mb is None or _fits(gpu.free_mb, demand)] or gpus
    parts = cores // len(roomy), -(-demand.runs // len(roomy))
    return [_share(gpu, demand, *parts) if gpu in roomy else _full(gpu, demand) for gpu in gpus]


def _fits(free_mb: float, demand: Demand) -> int:
    return int(_USED * free_mb / demand.need_mb)


def _title(gpu: Gpu) -> str:
    return f"GPU {gpu.name} ({gpu.product})" if gpu.product else f"GPU {gpu.name}"


def _full(gpu: Gpu, demand: Demand) -> Share:
    free, need = _gb(gpu.free_mb or 0.0), _gb(demand.need_mb)
    return Share(
        gpu,
        0,
        f"No run on {_title(gpu)}: {free} GB are free, too little for one ({need} GB each, "
        f"{demand.source}); --runs-per-gpu N has N run on every GPU.",
    )


def _share(gpu: Gpu, demand: Demand, cores: int, runs: int) -> Share:
    title = _title(gpu)
    if gpu.free_mb is None:
        return Share(
            gpu,
            1,
            f"1 run at a time on {title}: how much of its memory is free is not known; "
            "--runs-per-gpu N sets another number.",
        )
    fits = _fits(gpu.free_mb, demand)
    count = max(1, min(fits, cores, runs, MEASURED_RUNS))
    return Share(
        gpu,
        count,
        f"{count} run{'s' * (count != 1)} at a time on {title}: {_gb(gpu.free_mb)} GB are free, "
        f"enough for {fits} ({_gb(demand.need_mb)} GB each, {demand.source}); {cores} CPU "
        f"core{'s' * (cores != 1)}; {MEASURED_RUNS} at most were measured; {runs} to do; "
        "--runs-per-gpu N sets another number.",
    )


def _gb(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f}"


def _chosen(names: Sequence[str] | None) -> list[Gpu]:
    """The GPUs of some names, or all; CUDA stops at the first name that is none."""
    listed = _listed()
    if names is None:
        return [Gpu(index, product, free) for index, _, product, free in listed]
    found = []
    for name in names:
        if name in ("", "-1"):
            break
        known = [
            Gpu(name, product, free)
            for index, uuid, product, free in listed
            if name == index or (not name.isdigit() and uuid.startswith(name))
        ]
        found.append(known[0] if known else Gpu(name))
    return found


def _listed() -> list[tuple[str, str, str, float | None]]:
    """Index, UUID, product and free MB of the machine's GPUs, as nvidia-smi lists them."""
    rows: list[tuple[str, str, str, float | None]] = []
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [
                "nvidia-smi",
                "--query-gpu=index,uuid,name,memory.free",
                "--format=csv,noheader,nounits",
            ],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
        for line in done.stdout.splitlines():
            fields = [field.strip() for field in line.split(",")]
            if len(fields) == 4 and fields[0].isdigit():
                free = float(fields[3]) if fields[3].replace(".", "", 1).isdigit() else None
                rows.append((fields[0], fields[1], fields[2], free))
    return rows
