"""Data sets on disk in their canonical form: pictures, point files and a manifest.

    $CELLBENCH_HOME/data/<set>/{manifest.json, images/<id>.<ext>, points/<id>.txt}

or, of a set that may be passed on, the same folder inside the package of its plugin.

A set is written into a temporary sibling folder that gets its name at the end, so that a process
that is killed leaves no set or a whole one. What is read is checked against the manifest.
"""

import inspect
import re
import secrets
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from cellbench import paths
from cellbench.data.contracts import DataSet
from cellbench.data.images import decode_image, encode_png
from cellbench.data.manifests import Entry, Manifest, read_manifest
from cellbench.data.points import format_points, read_point_file
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import read_file
from cellbench.files.writing import only_writer, sha256, sync, writing
from cellbench.registry import DATASETS
from cellbench.structures import CellSample, Points, no_points

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

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
    """

    image_id: str
    picture: bytes | NDArray[np.uint8]
    size: tuple[int, int]
    points: Points
    suffix: str = ".png"
    part: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class StoredSet:
    """A data set on disk. Nothing is cached here: whoever reads often keeps what it reads.

    Attributes:
        folder: where it is.
        manifest: what it holds.
    """

    folder: Path
    manifest: Manifest
    _entries: dict[str, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        entries = {entry.id: entry for entry in self.manifest.entries}
        object.__setattr__(self, "_entries", entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def name(self) -> str:
        """The set's name, "adi" or "adi-sim"."""
        return self.manifest.name

    @property
    def ids(self) -> list[str]:
        """The image ids, sorted."""
        return sorted(self._entries)

    @property
    def manifest_hash(self) -> str:
        """SHA-256 of the contents, whatever the folder, the time and the PNG encoder."""
        return self.manifest.hash

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed when it was made, one sentence each."""
        return self.manifest.notes

    @property
    def simulated(self) -> bool:
        """Whether its pictures are drawn; their scores never enter a real table."""
        return self.manifest.stands_for is not None

    @property
    def stands_for(self) -> str:
        """The real set whose protocol constants hold: its own name unless it is simulated."""
        return self.manifest.stands_for or self.name

    def entry(self, image_id: str) -> Entry:
        """What the manifest says about an image.

        Raises:
            UserError: there is no such image.
        """
        found = self._entries.get(image_id)
        if found is None:
            raise UserError(
                f"{self.name} has no image {image_id!r}; it has {len(self)}, the first is "
                f"{self.ids[0] if self._entries else 'none'}."
            )
        return found

    def part(self, image_id: str) -> str | None:
        """Either "train" or "test", where the set is distributed in parts."""
        return self.entry(image_id).part

    def group(self, image_id: str) -> str | None:
        """Donor or slide, where it is known."""
        return self.entry(image_id).group

    def sample(self, image_id: str) -> CellSample:
        """The annotation of an image.

        Raises:
            UserError: no such image, or its point file is missing or not the one of the manifest.
        """
        entry = self.entry(image_id)
        self._checked(entry.points, entry.points_sha256)
        points = read_point_file(self.folder / entry.points).points
        return CellSample(image_id=entry.id, points=points, size=entry.size)

    def pixels(self, image_id: str) -> NDArray[np.uint8]:
        """The picture of an image, (H, W, 3) uint8 RGB, decoded anew at every call.

        Raises:
            UserError: no such image, or its file is missing or not the one of the manifest.
        """
        entry = self.entry(image_id)
        data = self._checked(entry.image, entry.image_sha256)
        return decode_image(data, name=str(self.folder / entry.image))

    def _checked(self, relative: str, digest: str) -> bytes:
        path = self.folder / relative
        try:
            data = read_file(path, most=FILE.size)
        except OSError as error:
            raise UserError(
                f"{path} cannot be read ({error.strerror}); `cellbench data verify {self.name}` "
                "names all damaged files."
            ) from error
        if sha256(data) != digest:
            raise UserError(
                f"{path} has changed since {self.name} was put there; "
                f"`cellbench data verify {self.name}` names all changed files."
            )
        return data


def is_on_disk(name: str) -> bool:
    """Whether a set of this name is in `$CELLBENCH_HOME`, or shipped with its plugin."""
    return _manifest_path(name).is_file()


def sets_on_disk() -> list[str]:
    """The names of all sets in `$CELLBENCH_HOME`, sorted, real and simulated."""
    folder = paths.home() / "data"
    if not folder.is_dir():
        return []
    names = sorted(child.name for child in folder.iterdir() if _NAME.fullmatch(child.name))
    return [name for name in names if is_on_disk(name)]


def open_set(name: str) -> StoredSet:
    """Open a set that is on disk.

    Raises:
        UserError: it is not there, with the command that mends it; its manifest is damaged.
    """
    path = _manifest_path(name)
    if not path.is_file():
        raise UserError(f"{name} is not on disk; {how_to_get(name)}.")
    return StoredSet(path.parent, read_manifest(path))


def how_to_get(name: str) -> str:
    """What puts a set on disk, as the end of a sentence."""
    if re.search(r"-sim(-\d+)?$", name):
        return f"`cellbench run CONFIG --dataset {name}` draws it"
    return (
        f"`cellbench data import {name} --from DIR` takes it from a raw copy, "
        f"`cellbench data fetch {name}` downloads it"
    )


def write_set(
    name: str,
    items: Iterable[NewItem],
    *,
    source: str,
    notes: Iterable[str] = (),
    stands_for: str | None = None,
    seed: int | None = None,
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
        force: whether a set of this name is replaced.
        progress: called after every image.
        total: number of items, for `progress`.

    Raises:
        UserError: a set of this name is there already; two items have one id; the disk is full.
    """
    target = _own_folder(name)
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
            )
            with writing(target):
                _put(temporary / "manifest.json", manifest.to_json().encode("ascii"))
                if target.exists():  # an old set of the name goes away first, as a whole too
                    target.rename(target.with_name(f".{name}.{secrets.token_hex(4)}.old"))
                temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sweep(target)
    return StoredSet(target, manifest)


def _manifest_path(name: str) -> Path:
    """The manifest of the user's copy; without one, that of the copy that the plugin ships."""
    own = _own_folder(name) / "manifest.json"
    if own.is_file() or name not in DATASETS.names():
        return own
    try:
        dataset = cast(type[DataSet], DATASETS.get(name))
    except UserError:  # a plugin that fails to import ships nothing
        return own
    if dataset.shipped is None:
        return own
    return Path(inspect.getfile(dataset)).parent / dataset.shipped / "manifest.json"


def _own_folder(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is no name of a data set; they are lower-case letters, digits and dashes."
        )
    return paths.data_folder(name)


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


def _write_item(folder: Path, item: NewItem) -> Entry:
    drawn = None
    picture, suffix = item.picture, item.suffix
    if not isinstance(picture, bytes):
        drawn = sha256(np.ascontiguousarray(picture).tobytes())
        picture, suffix = encode_png(picture), ".png"
    text = format_points(item.points if len(item.points) else no_points())
    entry = Entry(
        id=item.image_id,
        suffix=suffix,
        size=item.size,
        count=len(item.points),
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
