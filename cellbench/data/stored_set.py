"""Data sets on disk in their canonical form: images, point files and a manifest.

    $CELLBENCH_HOME/data/<set>/{manifest.json, images/<id>.<ext>, points/<id>.txt}

A set that may be redistributed can be the same folder inside its plugin's package.

Files are verified against the manifest when they are read; `cellbench.data.set_writer` writes them.
"""

import errno
import hashlib
import inspect
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from cellbench import paths
from cellbench.data.contracts import DataSet
from cellbench.data.images import decode_image
from cellbench.data.manifests import MANIFEST, Entry, Manifest, read_manifest
from cellbench.data.points import parse_points, read_count
from cellbench.errors import UserError
from cellbench.files.limits import FILE, POINTS, Limit
from cellbench.files.reading import read_file
from cellbench.registry import DATASETS, SIMULATORS
from cellbench.structures import CellSample
from cellbench.unknown_sets import unknown_set

_NAME = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{paths.LONGEST_SET_NAME - 1}}}")


@dataclass(frozen=True)
class StoredSet:
    """Data set on disk. It caches nothing: callers keep what they read often.

    Attributes:
        folder: folder of the set.
        manifest: its manifest.
        name: name of the set, such as "adi" or "adi-sim".
        stands_for: name of the real set whose protocol constants apply; `name` unless simulated.
        ids: image ids, sorted.
        manifest_hash: SHA-256 of the contents, independent of folder, time and PNG encoder.
    """

    folder: Path
    manifest: Manifest
    name: str = field(init=False, repr=False, compare=False)
    stands_for: str = field(init=False, repr=False, compare=False)
    ids: list[str] = field(init=False, repr=False, compare=False)
    manifest_hash: str = field(init=False, repr=False, compare=False)
    _entries: dict[str, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name, entries = self.manifest.name, {entry.id: entry for entry in self.manifest.entries}
        derived = {
            "name": name,
            "stands_for": self.manifest.stands_for or name,
            "ids": sorted(entries),
            "manifest_hash": self.manifest.hash,
            "_entries": entries,
        }
        for key, value in derived.items():
            object.__setattr__(self, key, value)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def notes(self) -> tuple[str, ...]:
        """Assumptions made when the set was written, one sentence each."""
        return self.manifest.notes

    @property
    def simulated(self) -> bool:
        """Whether the images are simulated; their scores never enter a table of real images."""
        return self.manifest.stands_for is not None

    def entry(self, image_id: str) -> Entry:
        """Return the manifest entry of an image.

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
        """Return the part of an image, "train" or "test"; None if the set has no parts."""
        return self.entry(image_id).part

    def group(self, image_id: str) -> str | None:
        """Return the donor or slide of an image; None if unknown."""
        return self.entry(image_id).group

    def sample(self, image_id: str) -> CellSample:
        """Load the annotation of an image.

        Raises:
            UserError: no such image, or its point file is missing or differs from the manifest.
        """
        entry = self.entry(image_id)
        data = self._read_verified(entry.points, entry.points_sha256, POINTS)
        own = self.manifest.own
        return CellSample(
            image_id=entry.id,
            points=parse_points(data, self.folder / entry.points).points,
            size=entry.size,
            pixel_size_um=None if own is None else own.um_per_px,
            counted=read_count(data) if own is not None and own.counts_only else None,
        )

    def pixels(self, image_id: str) -> NDArray[np.uint8]:
        """Load the pixels of an image, (H, W, 3) uint8 RGB, decoded at every call.

        Raises:
            UserError: no such image, or its file is missing or differs from the manifest.
        """
        entry = self.entry(image_id)
        data = self._read_verified(entry.image, entry.image_sha256, FILE)
        return decode_image(data, name=str(self.folder / entry.image))

    def _read_verified(self, relative: str, digest: str, limit: Limit) -> bytes:
        path = self.folder / relative
        try:
            data = read_file(path, most=limit.size)
        except OSError as error:
            mend = f"`cellbench data verify {self.name}` names all damaged files"
            if error.errno == errno.EFBIG:
                mend = limit.mend
            raise UserError(f"{path} cannot be read ({error.strerror}); {mend}.") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise UserError(
                f"{path} has changed since {self.name} was put there; "
                f"`cellbench data verify {self.name}` names all changed files."
            )
        return data


def is_on_disk(name: str) -> bool:
    """Return whether a set of this name is in `$CELLBENCH_HOME` or shipped with its plugin."""
    return _manifest_path(name).is_file()


def sets_on_disk() -> list[str]:
    """List the names of all sets in `$CELLBENCH_HOME`, sorted, real and simulated."""
    folder = paths.home() / "data"
    if not folder.is_dir():
        return []
    names = sorted(child.name for child in folder.iterdir() if _NAME.fullmatch(child.name))
    return [name for name in names if is_on_disk(name)]


def own_sets() -> list[str]:
    """List the names of the user's own sets on disk, sorted; a damaged one is left out."""
    found = []
    for name in sets_on_disk():
        with suppress(UserError):
            if name not in DATASETS and own_manifest(name) is not None:
                found.append(name)
    return found


def own_manifest(name: str) -> Manifest | None:
    """Read the manifest of a user's own set; None if there is no such set.

    Raises:
        UserError: the manifest is damaged.
    """
    if not _NAME.fullmatch(name):
        return None
    path = own_folder(name) / MANIFEST
    if not path.is_file():
        return None
    manifest = read_manifest(path)
    return None if manifest.own is None else manifest


def open_set(name: str) -> StoredSet:
    """Open a set that is on disk.

    Raises:
        UserError: it is not there, with the command that gets it; its manifest is damaged.
    """
    found = find_set(name)
    if found is None:
        if not _has_plugin(name):
            raise UserError(unknown_set(name, known_sets()))
        raise UserError(f"{name} is not on disk; {how_to_get(name)}.")
    return found


def known_sets() -> list[str]:
    """List the names of all sets: published, simulated, and the user's own on disk."""
    return sorted({*DATASETS.names(), *SIMULATORS.names(), *own_sets()})


def _has_plugin(name: str) -> bool:
    """Return whether a plugin has a data set of this name or simulates it, with any seed."""
    drawn = re.sub(r"(-sim)-\d+$", r"\1", name)
    if name in DATASETS or drawn in SIMULATORS:
        return True
    with suppress(UserError):  # the index may miss some registrations of a plugin
        DATASETS.get(name)
        return True
    return False


def find_set(name: str) -> StoredSet | None:
    """Open the set of a name if it is on disk, else return None.

    Raises:
        UserError: the name is invalid; the manifest is damaged.
    """
    path = _manifest_path(name)
    return StoredSet(path.parent, read_manifest(path)) if path.is_file() else None


def how_to_get(name: str) -> str:
    """Return the commands that get a set, as the end of a sentence."""
    if re.search(r"-sim(-\d+)?$", name):
        return f"`cellbench run CONFIG --dataset {name}` draws it"
    imported = f"`cellbench data import {name} --from DIR` takes it from a raw copy"
    with suppress(UserError):  # a plugin that fails to import offers nothing
        if cast(type[DataSet], DATASETS.get(name)).archives:
            return f"{imported}, `cellbench data fetch {name}` downloads it"
    return imported


def _manifest_path(name: str) -> Path:
    """Return the path of the user's manifest of a set, else of the one shipped with its plugin."""
    own = own_folder(name) / MANIFEST
    if own.is_file() or name not in DATASETS:
        return own
    try:
        dataset = cast(type[DataSet], DATASETS.get(name))
    except UserError:  # a plugin that fails to import ships nothing
        return own
    if dataset.shipped is None:
        return own
    return Path(inspect.getfile(dataset)).parent / dataset.shipped / MANIFEST


def own_folder(name: str) -> Path:
    """Return the folder of a set in `$CELLBENCH_HOME`, which may not exist.

    Raises:
        UserError: the name is invalid.
    """
    if not _NAME.fullmatch(name):
        shown = name if len(name) <= paths.LONGEST_SET_NAME else f"{name[:40]}..."
        raise UserError(
            f"{shown!r} is no name of a data set; they are at most {paths.LONGEST_SET_NAME} "
            "lower-case letters, digits and dashes."
        )
    return paths.home() / "data" / name
