"""The errors that a user reads."""

import re

# What the libraries say when memory is all, on a GPU and elsewhere, and what is said of it here.
# PyTorch asks NVML who has the GPU's memory once it has none, and in containers fails at that.
LACK_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|[Cc]annot allocate memory|can't allocate memory"
    r"|ALLOC(?:ATION)?_FAILED|NVML_SUCCESS == |memory of this machine is all"
)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error is a lack of memory, of a GPU or of this process."""
    return LACK_OF_MEMORY.search(f"{type(error).__name__}: {error}") is not None


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one sentence: what came, what is allowed, what mends it. The command line
    prints it without a traceback and exits with code 2.
    """


class PartError(UserError):
    """A part that a config names is unknown, could not be imported or was given wrong arguments."""


class RunError(Exception):
    """A run that cannot go on: a full disk, a loss that is no number.

    The message is one sentence; the command line prints it without a traceback and exits with
    code 1. What was finished before stays.
    """
