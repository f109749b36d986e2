"""Writing a set in its canonical form, see `cellbench.data.stored_set`.

A set is written into a temporary sibling folder that gets its name at the end, so that a process
that is killed leaves no set or a whole one.
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
from cellbench.files.writing import only_writer, sha256, sync, writing
from cellbench.structures import Points, no_points

Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """One image on its way into the store.

    Attributes:
        image_id: safe as a file name.
        picture: bytes of a picture file, kept unchanged, or (H, W, 3) uint8 pixels, kept as PNG.
        suffix: of the picture's file, with the dot, lower case; pixels are ".png".
        size: (width, height) in px.
        points: (N, 2) float32, (x, y) px.
        part: "train" or "test" where the set is distributed in parts.
        group: donor or slide, where it is known.
        count: number of cells where they are counted and not marked; None with points.
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
    """Write a set in its canonical form; it appears under its name when it is whole.

    Args:
        name: of the set.
        items: its images, read one by one; an error that they raise leaves nothing behind.
        source: where they come from, for people.
        notes: what was assumed, one sentence each; read when all items are written.
        stands_for: the real set, for a simulated one.
        seed: of a simulated set.
        own: of a set of the user's own pictures.
        beside: further files of its folder.
        force: whether a set of this name is replaced.
        progress: called after every image.
        total: number of items, for `progress`.

    Raises:
        UserError: a set of this name is there already; two items have one id, or one that is no
            file name; a point lies outside of its picture; the disk is full.
    """
    target = own_folder(name)
    with only_writer(target.parent, name):
        _sweep(target)
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
            with writing(target):
                _put(temporary / MANIFEST, manifest.to_json().encode("ascii"))
                for file, data in (beside or {}).items():
                    _put(temporary / file, data)
                if target.exists():  # an old set of the name goes away first, as a whole too
                    target.rename(target.with_name(f".{name}.{secrets.token_hex(4)}.old"))
                temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sweep(target)
    return StoredSet(target, manifest)


def _write_items(
    folder: Path, items: Iterable[NewItem], progress: Progress | None, total: int
) -> list[Entry]:
    with writing(folder):
        (folder / "images").mkdir(parents=True)
        (folder / "points").mkdir()
    entries: dict[str, Entry] = {}
    for item in items:
        # Folded: two ids that differ in case alone are one file on some systems.
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
    """Refuse what no reader of the set could use: ids are file names, points lie in pictures.

    Raises:
        UserError: with the image.
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
    with writing(folder / entry.image):
        _put(folder / entry.image, picture)
        _put(folder / entry.points, text)
    return entry


def _put(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        sync(stream.fileno())


def _sweep(target: Path) -> None:
    """Remove what a killed process left; an old set whose successor never came is put back."""
    for old in target.parent.glob(f".{target.name}.*.old"):
        if not target.exists():
            with suppress(OSError):
                old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    for partial in target.parent.glob(f".{target.name}.*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
