"""Choose device, precision and processes, and keep freed memory for reuse."""

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
    """The device to run on; a GPU is made the one that torch's streams and events belong to.

    Args:
        wanted: "auto" takes a GPU where there is one, and logs a sentence where torch cannot use
            what there is; else a torch device name.

    Raises:
        UserError: it is not there, or cannot be used.
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
        # The first kernel that is launched: torch also sees GPUs that it has no kernels for.
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        name = f"GPU {device.index}" if device.type == "cuda" else f"--device {wanted}"
        reason = (str(error).splitlines() or [""])[0].partition(". ")[0].rstrip(".")
        raise UserError(
            f"{name} cannot be used ({reason}); take another one or --device cpu."
        ) from None
    return device


def _gpu_number(wanted: str, device: torch.device) -> int:
    """Which of the GPUs that torch sees a device is.

    Args:
        wanted: as the user has it, for messages.
        device: of type "cuda"; without an index each process of torchrun has its own.

    Raises:
        UserError: it is not there, or for one process of several.
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
    """Log once why torch takes no GPU where there is NVIDIA's driver: a run would only be slow."""
    reason = "it sees none"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [reason])[0].partition(". ")[0].rstrip(".")
    logging.getLogger("cellbench").warning(
        "torch takes no GPU, though nvidia-smi is here (%s); the CPU is used.", reason
    )


def choose_precision(wanted: str, device: torch.device) -> str:
    """The number format of the forward pass; on a GPU float32 is made what it says, as on a CPU.

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
        # TF32, which convolutions would take for float32, has 10 of its 23 bits.
        torch.backends.cudnn.allow_tf32 = chosen != "float32"
    return chosen


# Numbers of glibc's malloc.h: freed memory at the top that is kept, and the most buffers that may
# be mapped each for itself.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEPT_BYTES = 2**31 - 1  # the largest int


def keep_freed_memory(device: torch.device) -> bool:
    """Have what a network on a CPU frees stay with this process, for its next layers to take.

    glibc maps every large buffer anew and gives it back when it is freed, so that each step, and
    each picture that is counted, waits for the kernel to zero the same gigabytes
    (benchmarks/allocator.py).

    Returns:
        Whether it was done: under glibc, for a CPU, where the user has set no MALLOC_ variable.
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
        cache: keep weights that were cast for the time of the context.
    """
    enabled = precision == "bfloat16"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled, cache_enabled=cache):
        yield


@dataclass(frozen=True, slots=True)
class Processes:
    """The place of this process among those that torchrun started.

    Attributes:
        rank: from 0; process 0 writes the files and speaks.
        world: their number.
    """

    rank: int = 0
    world: int = 1


ALONE = Processes()

# The first process validates and scores alone. NCCL's watchdog would end those that wait for it
# after ten minutes; one that died is torchrun's to notice, which ends the others.
_LONGEST_WAIT = timedelta(days=1)


def join_processes(device: torch.device) -> Processes:
    """Join the process group if torchrun started this process, else stand alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return ALONE
    if not torch.distributed.is_initialized():
        on_gpu = device.type == "cuda"
        torch.distributed.init_process_group(
            "nccl" if on_gpu else "gloo",
            timeout=_LONGEST_WAIT,
            # bound to it: NCCL would guess by the rank among all machines
            device_id=device if on_gpu else None,
        )
    return Processes(torch.distributed.get_rank(), world)


def wait_for_main() -> None:
    """Go on when the first of several processes has come here too."""
    torch.distributed.barrier()


def agree(number: int, device: torch.device) -> int:
    """The first process's number, in every process."""
    if not torch.distributed.is_initialized():
        return number
    shared = torch.tensor([number], device=device)
    torch.distributed.broadcast(shared, 0)
    return int(shared)


def leave_processes(kind: type[BaseException] | None = None, *error: object) -> None:
    """Leave the process group that `join_processes` joined, at the end of a context.

    After an error the group stays: NCCL leaves it together with the others, which may be waiting
    for this process in a step, so that all would wait and the error never be seen. torchrun ends
    the others once this process has ended.

    Args:
        kind: of the error that ends the context; None without one.
        error: the rest of what a context's end is given.
    """
    if kind is None and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
