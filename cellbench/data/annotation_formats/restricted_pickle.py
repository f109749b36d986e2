"""Restricted loading of arrays from untrusted pickles, in a subprocess.

A pickle can run any code. Here it may refer to NumPy's array, scalar and dtype and nothing else,
and even these are created in a process with limited memory and time: `masks_in_child` starts this
file, which imports nothing of cellbench.
"""

import importlib
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

MOST_BYTES = 1 << 30
MOST_SECONDS = 30

# Module of `_reconstruct` and `scalar` in the installed version of NumPy.
_MULTIARRAY = f"numpy.{'core' if np.__version__.startswith('1.') else '_core'}.multiarray"
_ALLOWED = {
    (module, name)
    for root in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{root}.multiarray", "_reconstruct"),
        (f"{root}.multiarray", "scalar"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    )
}


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickler that accepts no names but those of NumPy's array, scalar and dtype."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the object of this name if it is allowed.

        Raises:
            pickle.UnpicklingError: it is not.
        """
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it names {module[:40]}.{name[:40]}, which may be a program"
            )
        if name in ("ndarray", "dtype"):
            return getattr(np, name)
        return getattr(importlib.import_module(_MULTIARRAY), name)


def unpickled_masks(data: bytes) -> np.ndarray:
    """Parse the masks of a Cellpose `_seg.npy`.

    Args:
        data: content of the file.

    Returns:
        (H, W) of an integer type.

    Raises:
        ValueError: the data are not in this format.
        pickle.UnpicklingError: the pickle refers to a name that is not allowed.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(stream)
    if shape != () or dtype != np.dtype(object):
        raise ValueError("it holds no dict, as Cellpose saves one")
    found = RestrictedUnpickler(stream).load()
    if isinstance(found, np.ndarray) and found.dtype == object and found.size == 1:
        found = found.reshape(1)[0]
    if type(found) is not dict or type(found.get("masks")) is not np.ndarray:
        raise ValueError("it holds no masks")
    masks: np.ndarray = np.squeeze(found["masks"])
    if masks.ndim != 2 or masks.dtype.kind not in "iu" or not masks.size:
        raise ValueError(f"its masks have the shape {masks.shape} and the type {masks.dtype}")
    return np.ascontiguousarray(masks)


def masks_in_child(data: bytes) -> np.ndarray:
    """Run `unpickled_masks` in a subprocess with limited memory and time.

    Raises:
        ValueError: the subprocess rejected the data or exceeded a limit, as the message states.
    """
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(Path(__file__).resolve())],
            input=data,
            capture_output=True,
            timeout=2 * MOST_SECONDS,
            env={**os.environ, **threads},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError("reading it takes too long") from None
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        raise ValueError(words or "reading it takes too much memory or time")
    masks: np.ndarray = np.load(io.BytesIO(done.stdout), allow_pickle=False)
    return masks


def _limit_process() -> None:
    """Limit memory and processor time, on POSIX systems."""
    if os.name != "posix":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))


def _main() -> int:
    data = sys.stdin.buffer.read()
    _limit_process()
    try:
        masks = unpickled_masks(data)
    except MemoryError:
        sys.stderr.write("it takes more memory than masks have\n")
        return 1
    except Exception as error:  # a pickle may fail in any way
        sys.stderr.write(" ".join(str(error).split()) or type(error).__name__)
        return 1
    found = io.BytesIO()  # np.save needs a seekable file, which a pipe is not
    np.save(found, masks, allow_pickle=False)
    sys.stdout.buffer.write(found.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(_main())
