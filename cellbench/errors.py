"""Errors whose messages are shown to users."""

import re

# Messages of the libraries, and of cellbench, when memory is exhausted, on a GPU or elsewhere.
# PyTorch then asks NVML which processes hold the GPU's memory, which fails in containers.
LACK_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|[Cc]annot allocate memory|can't allocate memory"
    r"|ALLOC(?:ATION)?_FAILED|NVML_SUCCESS == |memory of this machine is all"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is a lack of memory, of a GPU or of this process."""
    return LACK_OF_MEMORY.search(f"{type(error).__name__}: {error}") is not None


class UserError(Exception):
    """Error that the user can correct.

    The message is one sentence: what was given, what is allowed, how to correct it. The command
    line prints it without a traceback and exits with code 2.
    """


class PartError(UserError):
    """Error of a part of a config: unknown, not importable, or with wrong arguments."""


class RunError(Exception):
    """Error that ends a run: a full disk, a loss that is not finite.

    The message is one sentence; the command line prints it without a traceback and exits with
    code 1. What was finished before stays.
    """
