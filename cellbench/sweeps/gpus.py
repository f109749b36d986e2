"""Visible GPUs of this machine and the number of runs that share each."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

# Most concurrent runs measured: on one H200 with 16 cores, 16 had 5 times the throughput of one.
MEASURED_RUNS = 16

# Memory of a run besides its tensors (driver context, kernels), and the ratio of memory that the
# allocator reserves to memory that it hands out, which the first records state.
CONTEXT_MB = 600.0
RESERVE = 1.25

# Memory of a run without a record on a GPU: several times what the measured methods used (70 to
# 640 MB).
GUESS_MB = 3000.0

# Share of the free memory to use; the rest is for other programs that start.
_USABLE_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that is visible to processes started here.

    Attributes:
        name: name for CUDA_VISIBLE_DEVICES.
        product: product name, for example "NVIDIA H200"; empty if unknown.
        free_mb: free memory; None if unknown.
    """

    name: str
    product: str = ""
    free_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """GPU memory that the remaining runs of a sweep need.

    Attributes:
        runs: number of remaining runs.
        peak_mb: largest peak memory of a run in the records; None without records.
        records: number of records that were used.
        unknown: number of configs without a record.
    """

    runs: int
    peak_mb: float | None = None
    records: int = 0
    unknown: int = 0

    @property
    def need_mb(self) -> float:
        """Memory to reserve for a run."""
        known = 0.0 if self.peak_mb is None else self.peak_mb * RESERVE + CONTEXT_MB
        guess = GUESS_MB if self.unknown or self.peak_mb is None else 0.0
        return max(known, guess)

    @property
    def source(self) -> str:
        """Basis of `need_mb`, for display."""
        if self.peak_mb is None:
            return "a guess, as no record tells"
        by = f"by {self.records} record{'s' * (self.records != 1)}"
        return f"{by}, and a guess for {self.unknown} more" if self.unknown else by


@dataclass(frozen=True, slots=True)
class Share:
    """A GPU and the number of runs that share it.

    Attributes:
        gpu: the GPU.
        runs: number of runs; 0 if other programs use its memory and another GPU has room.
        reason: one sentence; empty if the user has set the number.
    """

    gpu: Gpu
    runs: int
    reason: str = ""


def visible_gpus(device: str = "auto") -> list[Gpu]:
    """List the GPUs that runs on a device can use; empty for a CPU.

    Args:
        device: as for `cellbench run --device`; cuda:N is the N-th visible GPU and keeps that
            name, and cuda is returned as a GPU if no driver tool lists any.
    """
    if device not in ("auto", "cuda") and not device.startswith("cuda:"):
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = None if given is None else [name.strip() for name in given.split(",")]
    found = _select_gpus(names) if names != [""] else []
    if not device.startswith("cuda:"):
        return found or ([Gpu(device)] if device == "cuda" and names is None else [])
    number = device.partition(":")[2]
    chosen = found[int(number)] if number.isdigit() and int(number) < len(found) else Gpu("")
    return [Gpu(device, chosen.product, chosen.free_mb)]


def share_gpus(
    gpus: Sequence[Gpu], *, runs_per_gpu: int | None, demand: Demand, cores: int
) -> list[Share]:
    """Choose the number of concurrent runs for each GPU.

    Args:
        gpus: from `visible_gpus`.
        runs_per_gpu: number set by the user; None to choose by memory, cores and measurements.
        demand: memory that the runs need.
        cores: number of CPU cores; a run keeps about one busy.
    """
    if runs_per_gpu is not None:
        return [Share(gpu, runs_per_gpu) for gpu in gpus]
    # If no GPU has room for a run, one run is tried on each.
    roomy = [gpu for gpu in gpus if gpu.free_mb is None or _fits(gpu.free_mb, demand)] or gpus
    parts = cores // len(roomy), -(-demand.runs // len(roomy))
    return [_share(gpu, demand, *parts) if gpu in roomy else _no_runs(gpu, demand) for gpu in gpus]


def _fits(free_mb: float, demand: Demand) -> int:
    return int(_USABLE_SHARE * free_mb / demand.need_mb)


def _title(gpu: Gpu) -> str:
    return f"GPU {gpu.name} ({gpu.product})" if gpu.product else f"GPU {gpu.name}"


def _no_runs(gpu: Gpu, demand: Demand) -> Share:
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


def _select_gpus(names: Sequence[str] | None) -> list[Gpu]:
    """Select GPUs by name, None for all; like CUDA, stop at the first invalid name."""
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
    """List index, UUID, product and free MB of the machine's GPUs, from nvidia-smi."""
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
