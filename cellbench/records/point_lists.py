"""Points files: the predicted points of a run, in one file beside its record.

A compressed .npz without pickles, with fixed dates and order, that NumPy reads anywhere:
- `image_ids`, (M,) text;
- `starts`, (M + 1,) int64, the first point of every image;
- `coordinates`, (2, 4, N) uint8: x and y of every point in 1/32 px, int32, bytes grouped by
  significance, the least first, which compresses better;
- `score_bytes`, (2, N) uint8: the scores as float16, likewise; NaN where a method has none.

Files of records of version 1 are not compressed and hold `points`, (N, 2) float32 px, and `scores`,
(N,) float32, in place of the last two; they take three times the space.
"""

import errno
import hashlib
import io
import json
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

STEP_PX = 1 / 32
"""Resolution of stored coordinates: a tenth of an annotator's precision."""

# Kind of NumPy type and number of dimensions per array, of version 2 and of version 1.
_LISTS = {"image_ids": ("U", 1), "starts": ("i", 1)}
_ARRAYS = _LISTS | {"coordinates": ("u", 3), "score_bytes": ("u", 2)}
_ARRAYS_1 = _LISTS | {"points": ("f", 2), "scores": ("f", 1)}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can give
_RESTORE = "restore the file from version control"
_REGULAR_FILE = 0o644 << 16


def pack_points(points: PointLists) -> bytes:
    """Encode points as the bytes of a points file.

    Args:
        points: per image id the (N, 2) points, (x, y) px, and their (N,) scores or None.

    Raises:
        ValueError: an image has more or fewer scores than points, or a point is beyond 2**26 px.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in _arrays(points).items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            member.external_attr = _REGULAR_FILE
            member.create_system = 3  # else the bytes depend on the system that writes
            member.compress_type = zipfile.ZIP_DEFLATED
            content = io.BytesIO()
            np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
            archive.writestr(member, content.getvalue(), compresslevel=9)
    return buffer.getvalue()


def points_sha256(points: PointLists) -> str:
    """Compute the SHA-256 of the content of a points file, whichever zlib compressed it."""
    ids, *arrays = _arrays(points).values()
    head = json.dumps(ids.tolist()).encode("ascii")
    return hashlib.sha256(head + b"".join(array.tobytes() for array in arrays)).hexdigest()


def _arrays(points: PointLists) -> dict[str, NDArray[Any]]:
    """Build the arrays of a points file, little-endian."""
    lists: list[NDArray[Any]] = [np.zeros((0, 2))]
    scores: list[NDArray[Any]] = [np.zeros(0)]
    for image_id, (xy, score) in points.items():
        rows = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        values = np.full(len(rows), np.nan) if score is None else np.asarray(score).reshape(-1)
        if len(values) != len(rows):
            raise ValueError(f"{image_id} has {len(rows)} points but {len(values)} scores")
        lists.append(rows)
        scores.append(values)
    steps = np.rint(np.concatenate(lists) / STEP_PX)
    if not (np.abs(steps) < 2**31).all():
        raise ValueError("a point is not finite or beyond 2**26 px")
    most = float(np.finfo(np.float16).max)
    return {
        "image_ids": np.array(list(points), dtype="<U"),
        "starts": np.cumsum([0, *map(len, lists[1:])], dtype="<i8"),
        "coordinates": np.stack([_planes(steps[:, axis].astype("<i4")) for axis in (0, 1)]),
        "score_bytes": _planes(np.clip(np.concatenate(scores), -most, most).astype("<f2")),
    }


def _planes(numbers: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert (N,) numbers of B bytes to (B, N) bytes."""
    rows = numbers.view(np.uint8).reshape(len(numbers), numbers.itemsize)
    return np.ascontiguousarray(rows.T)


def _numbers(planes: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    """Convert (B, N) bytes to (N,) numbers.

    Raises:
        ValueError: B is not the size of the type.
    """
    if planes.dtype != np.uint8 or len(planes) != np.dtype(kind).itemsize:
        raise ValueError("its bytes are of another type")
    return np.ascontiguousarray(planes.T).view(kind).reshape(-1).astype(np.float32)


def read_points(
    record_path: Path, record: Mapping[str, Any]
) -> dict[str, tuple[Points, NDArray[np.float32] | None]]:
    """Read the predicted points of a record; empty for a method without points.

    Args:
        record_path: file of the record, beside the points file.
        record: JSON of the record, from `read_record`.

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
        mend = SIDECAR.mend if error.errno == errno.EFBIG else _RESTORE
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
        values = scores[start:end]
        unscored = bool(values.size) and bool(np.isnan(values).all())
        lists[image_id] = points[start:end], None if unscored else values
    return lists


def _unpack(data: bytes) -> tuple[list[str], list[int], Points, NDArray[np.float32]]:
    """Decode a points file; each array is checked before memory is allocated for it.

    Raises:
        ValueError: they are not what `pack_points` writes; other errors for other damage.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: info for info in archive.infolist()}
        wanted = _ARRAYS_1 if "points.npy" in members else _ARRAYS
        if sorted(members) != sorted(f"{name}.npy" for name in wanted):
            raise ValueError("it does not hold the four arrays")
        if sum(info.file_size for info in members.values()) > SIDECAR.size:
            raise ValueError(f"it unpacks to more than {megabytes(SIDECAR.size)}")
        arrays = {
            name: _array(archive, members[f"{name}.npy"], *expected)
            for name, expected in wanted.items()
        }
    ids, starts = arrays["image_ids"].tolist(), arrays["starts"].tolist()
    if wanted is _ARRAYS:
        scores = _numbers(arrays["score_bytes"], "<f2")
        axes = [_numbers(planes, "<i4") for planes in arrays["coordinates"]]
        points = np.stack(axes, axis=1) * np.float32(STEP_PX)
    else:
        points, scores = (arrays[name].astype(np.float32) for name in ("points", "scores"))
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
    """Read one array, after comparing the shape and type in its header with its size."""
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
