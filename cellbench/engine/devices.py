"""Device, precision and processes of a run, and reuse of freed memory."""

import ctypes
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import torch

from cellbench.errors import UserError


def choose_device(wanted: str) -> torch.device:
    """Select the device to run on; a GPU becomes torch's current device.

    Args:
        wanted: "auto" selects a GPU that torch can use, else the CPU, and logs a warning if there
            is a GPU that torch cannot use; else a torch device name.

    Raises:
        UserError: the device does not exist or cannot be used.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
        if wanted == "cpu" and not hidden and shutil.which("nvidia-smi"):
            _say_why_no_gpu()
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UserError(
            f"--device {wanted} is no device; it is auto, cpu, cuda or cuda:N."
        ) from None
    if device.type == "cpu":
        return device
    if device.type == "cuda":
        device = torch.device("cuda", _gpu_number(wanted, device))
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device.index)
        # Launch one kernel: torch also lists GPUs that it has no kernels for.
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        name = f"GPU {device.index}" if device.type == "cuda" else f"--device {wanted}"
        reason = (str(error).splitlines() or [""])[0].partition(". ")[0].rstrip(".")
        raise UserError(
            f"{name} cannot be used ({reason}); take another one or --device cpu."
        ) from None
    return device


def _gpu_number(wanted: str, device: torch.device) -> int:
    """Return the index of a GPU among those that torch sees.

    Args:
        wanted: name given by the user, for messages.
        device: of type "cuda"; without an index each process of torchrun has its own GPU.

    Raises:
        UserError: the GPU does not exist, or several processes are given the same one.
    """
    if device.index is not None and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"--device {wanted} is one GPU for all processes of torchrun; leave it out, and each "
            "has one of its own."
        )
    number = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.index is None and 0 < gpus <= number:
        raise UserError(
            f"torchrun started more processes than there are GPUs: torch sees {gpus}; give "
            f"--nproc-per-node {gpus}, or --device cpu."
        )
    if number >= gpus:
        raise UserError(
            f"--device {wanted} is not there: torch sees {gpus} GPUs; take --device cpu."
        )
    return number


@cache
def _say_why_no_gpu() -> None:
    """Log once why torch uses no GPU although NVIDIA's driver is installed: the run is slow."""
    reason = "it sees none"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [reason])[0].partition(". ")[0].rstrip(".")
    logging.getLogger("cellbench").warning(
        "torch takes no GPU, though nvidia-smi is here (%s); the CPU is used.", reason
    )


def choose_precision(wanted: str, device: torch.device) -> str:
    """Choose the number format of the forward pass; disable TF32 on a GPU for float32.

    Args:
        wanted: "auto", "float32" or "bfloat16".
        device: where it runs.

    Returns:
        "bfloat16" where it is wanted and the hardware computes it; else "float32". On a CPU
        without AVX-512 a bfloat16 convolution is emulated, 15 times slower than float32
        (measured on AVX2), so that auto never takes it there.
    """
    chosen, native = wanted, False
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu" and torch.backends.mkldnn.is_available():
        native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if wanted == "auto":
        chosen = "bfloat16" if native else "float32"
    if device.type == "cuda":
        # TF32, which convolutions would use for float32, has 10 of its 23 mantissa bits.
        torch.backends.cudnn.allow_tf32 = chosen != "float32"
    return chosen


# Options of glibc's mallopt (malloc.h): freed bytes kept at the top of the heap, and the largest
# number of buffers that are mapped separately.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEPT_BYTES = 2**31 - 1  # the largest int


def keep_freed_memory(device: torch.device) -> bool:
    """Make the allocator keep memory that a network on a CPU frees, for reuse by its next layers.

    By default glibc maps every large buffer anew and returns it when it is freed, so that each
    step, and each image that is counted, waits for the kernel to zero the same gigabytes
    (benchmarks/allocator.py).

    Returns:
        Whether it was set: under glibc, for a CPU, where the user has set no MALLOC_ variable.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ)
    if device.type != "cpu" or not sys.platform.startswith("linux") or chosen:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT_BYTES))
    return all(mallopt(*setting) == 1 for setting in settings)


@contextmanager
def autocast(device: torch.device, precision: str, *, cache: bool = True) -> Iterator[None]:
    """Compute in `precision` where that is safe.

    Args:
        device: where it is computed.
        precision: "float32" or "bfloat16".
        cache: reuse cast weights within the context.
    """
    enabled = precision == "bfloat16"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled, cache_enabled=cache):
        yield


@dataclass(frozen=True, slots=True)
class Processes:
    """Rank of this process, and number of processes that torchrun started.

    Attributes:
        rank: from 0; rank 0 writes the files and shows messages.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1


ALONE = Processes()

# Rank 0 validates and scores alone. NCCL's watchdog would end the processes that wait for it after
# ten minutes; if a process dies, torchrun ends the others.
_LONGEST_WAIT = timedelta(days=1)


def join_processes(device: torch.device) -> Processes:
    """Join the process group of torchrun; return `ALONE` for a single process."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return ALONE
    if not torch.distributed.is_initialized():
        on_gpu = device.type == "cuda"
        torch.distributed.init_process_group(
            "nccl" if on_gpu else "gloo",
            timeout=_LONGEST_WAIT,
            # without it NCCL guesses the device from the rank among all machines
            device_id=device if on_gpu else None,
        )
    return Processes(torch.distributed.get_rank(), world)


def wait_for_main() -> None:
    """Wait until all processes have called this."""
    torch.distributed.barrier()


def agree(number: int, device: torch.device) -> int:
    """Return the number of rank 0 in every process."""
    if not torch.distributed.is_initialized():
        return number
    shared = torch.tensor([number], device=device)
    torch.distributed.broadcast(shared, 0)
    return int(shared)


def leave_processes(kind: type[BaseException] | None = None, *error: object) -> None:
    """Leave the process group that `join_processes` joined, at the end of a context.

    After an error the group stays: NCCL destroys it together with the other processes, which may
    be waiting for this one in a step, so that all would wait and the error would never be seen.
    torchrun ends the others once this process has ended.

    Args:
        kind: type of the error that ends the context; None without one.
        error: the other arguments of a context's exit.
    """
    if kind is None and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
