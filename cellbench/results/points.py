"""Predicted points of a run, in one file beside its record.

An uncompressed .npz without pickles, with fixed dates and order: NumPy reads it anywhere, and the
same points give the same bytes, so that the record can hold the file's SHA-256.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import UserError
from cellbench.structures import Points

PointLists = Mapping[str, tuple[Points, NDArray[np.float32] | None]]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can give
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
        data = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"The points {path} of a record cannot be read ({reason}); restore the file from "
            "version control."
        ) from error
    if hashlib.sha256(data).hexdigest() != reference.get("sha256"):
        raise UserError(
            f"The points {path} are not those that were recorded; restore the file from version "
            "control."
        )
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            ids, starts = archive["image_ids"].tolist(), archive["starts"].tolist()
            points, scores = archive["points"], archive["scores"]
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"The points {path} are no points file ({error}).") from error
    lists: dict[str, tuple[Points, NDArray[np.float32] | None]] = {}
    for image_id, start, end in zip(ids, starts, starts[1:], strict=False):
        own = scores[start:end]
        unscored = bool(own.size) and bool(np.isnan(own).all())
        lists[image_id] = points[start:end], None if unscored else own
    return lists
