"""Write a data set in its canonical form, see `cellbench.data.stored_set`.

A set is written to a temporary sibling folder that is renamed at the end, so that a killed process
leaves a complete set or none.
"""

import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellbench.data.images import encode_png
from cellbench.data.manifests import MANIFEST, Entry, Manifest, OwnFacts
from cellbench.data.points import format_count, format_points
from cellbench.data.stored_set import StoredSet, is_on_disk, own_folder
from cellbench.errors import UserError
from cellbench.files.writing import explained_writing, sha256, sync, write_lock
from cellbench.structures import Points, no_points

Progress = Callable[[int, int], None]
"""Callback with the number of images done and the total number."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """Image to be written to a set, with its annotation.

    Attributes:
        image_id: id, safe as a file name.
        picture: bytes of an image file, kept unchanged, or (H, W, 3) uint8 pixels, saved as PNG.
        suffix: suffix of the image file, with the dot, lower case; ".png" for pixels.
        size: (width, height) in px.
        points: (N, 2) float32, (x, y) px.
        part: "train" or "test" where the set is distributed in parts.
        group: donor or slide, where it is known.
        count: number of cells of an image without cell positions; None with points.
    """

    image_id: str
    picture: bytes | NDArray[np.uint8]
    size: tuple[int, int]
    points: Points
    suffix: str = ".png"
    part: str | None = None
    group: str | None = None
    count: int | None = None


def write_set(
    name: str,
    items: Iterable[NewItem],
    *,
    source: str,
    notes: Iterable[str] = (),
    stands_for: str | None = None,
    seed: int | None = None,
    own: OwnFacts | None = None,
    beside: Mapping[str, bytes] | None = None,
    force: bool = False,
    progress: Progress | None = None,
    total: int = 0,
) -> StoredSet:
    """Write a set in its canonical form; it appears under its name once it is complete.

    Args:
        name: name of the set.
        items: images, consumed one by one; if the iterator raises, nothing is kept.
        source: origin of the images, as shown to users.
        notes: assumptions, one sentence each; read after all items are written.
        stands_for: the real set that a simulated set replaces.
        seed: seed of a simulated set.
        own: properties of a user's own set.
        beside: further files for the set's folder, contents by name.
        force: whether to replace an existing set of this name.
        progress: called after every image.
        total: number of items, for `progress`.

    Raises:
        UserError: a set of this name exists; two items have the same id, or an id is not a file
            name; a point lies outside its image; the disk is full.
    """
    target = own_folder(name)
    with write_lock(target.parent, name):
        _remove_leftovers(target)
        if is_on_disk(name) and not force:
            raise UserError(f"{name} is on disk already, in {target}; --force replaces it.")
        temporary = target.with_name(f".{name}.{secrets.token_hex(4)}.partial")
        try:
            entries = _write_items(temporary, items, progress, total)
            manifest = Manifest(
                name=name,
                entries=tuple(sorted(entries, key=lambda entry: entry.id)),
                source=source,
                notes=tuple(notes),
                stands_for=stands_for,
                seed=seed,
                own=own,
            )
            with explained_writing(target):
                _write_file(temporary / MANIFEST, manifest.to_json().encode("ascii"))
                for file, data in (beside or {}).items():
                    _write_file(temporary / file, data)
                if target.exists():  # the old set is renamed as a whole first
                    target.rename(target.with_name(f".{name}.{secrets.token_hex(4)}.old"))
                temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _remove_leftovers(target)
    return StoredSet(target, manifest)


def _write_items(
    folder: Path, items: Iterable[NewItem], progress: Progress | None, total: int
) -> list[Entry]:
    with explained_writing(folder):
        (folder / "images").mkdir(parents=True)
        (folder / "points").mkdir()
    entries: dict[str, Entry] = {}
    for item in items:
        # Case-folded: ids that differ only in case are the same file on some systems.
        key = item.image_id.casefold()
        if key in entries:
            raise UserError(
                f"Two images are called {item.image_id!r}; rename one of them and try again."
            )
        entries[key] = _write_item(folder, item)
        if progress is not None:
            progress(len(entries), total)
    return list(entries.values())


def _check_item(item: NewItem) -> None:
    """Validate an item: its id is a file name, its points lie in the image, pixels have 3 channels.

    Raises:
        UserError: the item is invalid; the message names the image.
    """
    name = item.image_id
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise UserError(f"{name!r} cannot be the id of an image, which is the name of its file.")
    points = np.asarray(item.points, dtype=np.float64).reshape(-1, 2)
    inside = ((points >= 0) & (points < np.array(item.size))).all(axis=1)  # False for NaN too
    if not inside.all():
        x, y = points[~inside][0]
        raise UserError(
            f"The image {name} has a point at ({x:g}, {y:g}), outside of its {item.size[0]}x"
            f"{item.size[1]} px; mend the annotation."
        )
    if not isinstance(item.picture, bytes) and item.picture.shape[2:] != (3,):
        raise UserError(f"The image {name} is of shape {item.picture.shape}, not (H, W, 3).")


def _write_item(folder: Path, item: NewItem) -> Entry:
    _check_item(item)
    drawn = None
    picture, suffix = item.picture, item.suffix
    if not isinstance(picture, bytes):
        drawn = sha256(np.ascontiguousarray(picture).tobytes())
        picture, suffix = encode_png(picture), ".png"
    text = format_points(item.points if len(item.points) else no_points())
    if item.count is not None:
        text = format_count(item.count)
    entry = Entry(
        id=item.image_id,
        suffix=suffix,
        size=item.size,
        count=len(item.points) if item.count is None else item.count,
        image_sha256=sha256(picture),
        points_sha256=sha256(text),
        pixels_sha256=drawn,
        part=item.part,
        group=item.group,
    )
    with explained_writing(folder / entry.image):
        _write_file(folder / entry.image, picture)
        _write_file(folder / entry.points, text)
    return entry


def _write_file(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        sync(stream.fileno())


def _remove_leftovers(target: Path) -> None:
    """Remove files that a killed process left, and restore an old set that was not replaced."""
    for old in target.parent.glob(f".{target.name}.*.old"):
        if not target.exists():
            with suppress(OSError):
                old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    for partial in target.parent.glob(f".{target.name}.*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
