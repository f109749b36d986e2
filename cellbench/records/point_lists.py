"""Predicted points of a run, in one file beside its record.

An uncompressed .npz without pickles, with fixed dates and order: NumPy reads it anywhere, and the
same points give the same bytes, so that the record can hold the file's SHA-256.
"""

import errno
import hashlib
import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import UserError
from cellbench.files.limits import SIDECAR
from cellbench.files.reading import megabytes, read_file
from cellbench.structures import Points

PointLists = Mapping[str, tuple[Points, NDArray[np.float32] | None]]

# Kind of NumPy type and number of dimensions.
_ARRAYS = {"image_ids": ("U", 1), "starts": ("i", 1), "points": ("f", 2), "scores": ("f", 1)}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can give
_RESTORE = "restore the file from version control"
_REGULAR_FILE = 0o644 << 16


def pack_points(points: PointLists) -> bytes:
    """The bytes of a points file.

    Args:
        points: per image id the (N, 2) points, (x, y) px, and their (N,) scores or None.

    Returns:
        An .npz with `image_ids` (M,) text; `starts` (M + 1,) int64, the first row of every
        image; `points` (N, 2) float32; `scores` (N,) float32, NaN where a method has none.

    Raises:
        ValueError: an image has more or fewer scores than points.
    """
    lists, scores = [], []
    for image_id, (xy, score) in points.items():
        rows = np.asarray(xy, dtype=np.float32).reshape(-1, 2)
        own = np.full(len(rows), np.nan) if score is None else np.asarray(score).reshape(-1)
        if len(own) != len(rows):
            raise ValueError(f"{image_id} has {len(rows)} points but {len(own)} scores")
        lists.append(rows)
        scores.append(own.astype(np.float32))
    arrays = {
        "image_ids": np.array(list(points), dtype=np.str_),
        "starts": np.cumsum([0, *map(len, lists)], dtype=np.int64),
        "points": np.concatenate([np.zeros((0, 2), np.float32), *lists]),
        "scores": np.concatenate([np.zeros(0, np.float32), *scores]),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            member.external_attr = _REGULAR_FILE
            member.create_system = 3  # else the system that writes it shows in the bytes
            content = io.BytesIO()
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            np.lib.format.write_array(content, little, version=(1, 0), allow_pickle=False)
            archive.writestr(member, content.getvalue())
    return buffer.getvalue()


def read_points(
    record_path: Path, record: Mapping[str, Any]
) -> dict[str, tuple[Points, NDArray[np.float32] | None]]:
    """The predicted points of a record; an empty dict for a method without points.

    Args:
        record_path: file of the record, beside which the points are.
        record: what `read_record` gave.

    Raises:
        UserError: the file is missing, is not the one that was written, or is damaged.
    """
    reference = record["points"]
    if reference is None:
        return {}
    path = record_path.with_name(Path(str(reference.get("file"))).name)
    try:
        data = read_file(path, most=SIDECAR.size)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        mend = (
            SIDECAR.mend if error.errno == errno.EFBIG else "restore the file from version control"
        )
        raise UserError(
            f"The points {path} of a record cannot be read ({reason}); {mend}."
        ) from error
    if hashlib.sha256(data).hexdigest() != reference.get("sha256"):
        raise UserError(f"The points {path} are not those that were recorded; {_RESTORE}.")
    try:
        ids, starts, points, scores = _unpack(data)
    except Exception as error:  # zipfile and numpy raise nearly anything on hostile bytes
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(f"The points {path} are no points file ({reason}); {_RESTORE}.") from error
    lists: dict[str, tuple[Points, NDArray[np.float32] | None]] = {}
    for image_id, start, end in zip(ids, starts, starts[1:], strict=False):
        own = scores[start:end]
        unscored = bool(own.size) and bool(np.isnan(own).all())
        lists[image_id] = points[start:end], None if unscored else own
    return lists


def _unpack(data: bytes) -> tuple[list[str], list[int], Points, NDArray[np.float32]]:
    """The arrays of a points file, each checked before memory is taken for it.

    Raises:
        ValueError: they are not what `pack_points` writes; other errors for other damage.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if sorted(members) != sorted(f"{name}.npy" for name in _ARRAYS):
            raise ValueError("it does not hold the four arrays")
        if sum(info.file_size for info in members.values()) > SIDECAR.size:
            raise ValueError(f"it unpacks to more than {megabytes(SIDECAR.size)}")
        arrays = {
            name: _array(archive, members[f"{name}.npy"], *expected)
            for name, expected in _ARRAYS.items()
        }
    ids, starts = arrays["image_ids"].tolist(), arrays["starts"].tolist()
    points, scores = arrays["points"].astype(np.float32), arrays["scores"].astype(np.float32)
    if len(set(ids)) != len(ids) or len(starts) != len(ids) + 1:
        raise ValueError("its lists do not belong to its images")
    if starts[0] != 0 or starts[-1] != len(points) or starts != sorted(starts):
        raise ValueError("its lists overlap or leave points out")
    if points.shape[1] != 2 or len(scores) != len(points):
        raise ValueError("it has not a score for each point")
    if not np.isfinite(points).all() or np.isinf(scores).any():
        raise ValueError("a point in it is not finite")
    return ids, starts, points, scores


def _array(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, kind: str, dimensions: int
) -> NDArray[Any]:
    """One array; the shape and type that its header claims are compared with its size first."""
    with archive.open(member) as stream:
        content = stream.read(member.file_size)
    head = io.BytesIO(content)
    if np.lib.format.read_magic(head) != (1, 0):
        raise ValueError("it is of another version of NumPy's format")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(head)
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind != kind or len(shape) != dimensions or by_columns:
        raise ValueError(f"{member.filename} is of another type or shape")
    if size != len(content) - head.tell():
        raise ValueError(f"{member.filename} is cut off or claims another shape")
    return np.frombuffer(content, dtype, offset=head.tell()).reshape(shape)
