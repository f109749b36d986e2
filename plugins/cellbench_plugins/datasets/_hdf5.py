"""Safe reading of arrays from untrusted HDF5 files.

An HDF5 file can refer to other files (external links, external storage, virtual data sets), load
decoders, and unpack to any size: each of these is refused before a value is read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import check_file

# Most unpacked bytes of one array, or of one of its chunks.
MOST_BYTES = 2**28
_FILTERS = (None, "gzip", "lzf", "szip")
_MOST_NAMES = 1000


def array_names(path: Path) -> list[str]:
    """List the names of the arrays at the root of a file, sorted.

    Raises:
        UserError: the file cannot be read.
    """
    with _opened(path) as file:
        if len(file) > _MOST_NAMES:
            raise UserError(f"{path} holds {len(file)} arrays, more than {_MOST_NAMES}.")
        return sorted(name for name in file if _is_array(file, name))


def array_shape(path: Path, name: str) -> tuple[int, ...]:
    """Read the shape of an array.

    Raises:
        UserError: the array is missing, or cannot be read.
    """
    with _opened(path) as file:
        shape: tuple[int, ...] = _array(file, path, name).shape
        return shape


def read_array(path: Path, name: str, index: int | None = None) -> NDArray[np.generic]:
    """Read an array, or one entry of its first axis.

    Raises:
        UserError: the array is missing, not numeric, too large, or cannot be read.
    """
    with _opened(path) as file:
        found = _array(file, path, name)
        shape = found.shape if index is None else found.shape[1:]
        if index is not None and not (found.shape and 0 <= index < found.shape[0]):
            raise UserError(f"{path}: {name!r} has no entry {index}.")
        if int(np.prod(shape, dtype=object)) * found.dtype.itemsize > MOST_BYTES:
            raise UserError(
                f"{path}: {name!r} has the shape {found.shape}; at most {MOST_BYTES // 2**20} MB "
                "are read at once."
            )
        return np.asarray(found[()] if index is None else found[index])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError:
        raise UserError(
            f"{path} is an HDF5 file, and h5py is not installed; "
            "pip install 'cellbench[hdf5]' installs it."
        ) from None
    try:
        check_file(path, most=FILE.size)
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read as HDF5 ({reason}).") from None


def _is_array(file: Any, name: str) -> bool:
    import h5py

    return isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(
        file[name], h5py.Dataset
    )


def _array(file: Any, path: Path, name: str) -> Any:
    if name not in file or not _is_array(file, name):
        raise UserError(f"{path} holds no array {name!r} of its own.")
    found = file[name]
    if found.external or found.is_virtual:
        raise UserError(f"{path}: {name!r} lies in other files; a file that holds it is wanted.")
    if found.shape is None:
        raise UserError(f"{path}: {name!r} is empty.")
    if found.dtype.kind not in "uif" or found.dtype.fields:
        raise UserError(f"{path}: {name!r} holds {found.dtype}, not numbers.")
    filters = found.id.get_create_plist().get_nfilters()
    known = sum((found.compression is not None, found.shuffle, bool(found.fletcher32)))
    if found.compression not in _FILTERS or filters > known + (found.scaleoffset is not None):
        raise UserError(f"{path}: {name!r} is packed by a program of its own; gzip is read.")
    chunk = int(np.prod(found.chunks or (1,), dtype=object)) * found.dtype.itemsize
    if chunk > MOST_BYTES:
        raise UserError(
            f"{path}: {name!r} is packed in pieces of {chunk // 2**20} MB, more than "
            f"{MOST_BYTES // 2**20} MB."
        )
    return found
