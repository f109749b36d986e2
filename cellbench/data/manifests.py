"""Manifests of data sets: the files of a set on disk, and those that its authors published."""

import hashlib
import inspect
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from cellbench.data.contracts import DataSet
from cellbench.errors import UserError
from cellbench.files.reading import read_json
from cellbench.files.writing import sha256_file

FORMAT = 1
MANIFEST = "manifest.json"
# Enough for some 200,000 images.
MAX_BYTES = 64 * 2**20
_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Names that `safe_id` does not change.
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_KINDS = {
    "name": (str,),
    "images": (list,),
    "source": (str,),
    "notes": (list,),
    "stands_for": (str, NoneType),
    "seed": (int, NoneType),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """Manifest entry of one image.

    Attributes:
        id: name of the image in the set.
        suffix: suffix of the image file, such as ".png".
        size: (width, height) in px.
        count: number of cells.
        image_sha256: hash of the image file.
        points_sha256: hash of the point file.
        pixels_sha256: hash of the decoded pixels, since two versions of a PNG encoder write the
            same pixels as different bytes; only for images that cellbench encoded: simulated ones
            and those converted at import.
        part: "train" or "test" where the set is distributed in parts.
        group: donor or slide, where it is known.
    """

    id: str
    suffix: str
    size: tuple[int, int]
    count: int
    image_sha256: str
    points_sha256: str
    pixels_sha256: str | None = None
    part: str | None = None
    group: str | None = None

    @property
    def image(self) -> str:
        """Path of the image file, relative to the set's folder."""
        return f"images/{self.id}{self.suffix}"

    @property
    def points(self) -> str:
        """Path of the point file, relative to the set's folder."""
        return f"points/{self.id}.txt"


@dataclass(frozen=True, slots=True)
class OwnFacts:
    """Properties of a user's own data set, which no plugin describes.

    Attributes:
        formats: annotation formats, as shown to users.
        spacing_px: median distance between a cell and its nearest neighbour; None if unknown.
        um_per_px: edge of a pixel in micrometres; None if unknown.
        counts_only: whether images have a cell count and no cell positions.
    """

    formats: tuple[str, ...]
    spacing_px: float | None = None
    um_per_px: float | None = None
    counts_only: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """Manifest of a data set on disk.

    Attributes:
        name: name of the set.
        entries: one entry per image, sorted by id.
        source: origin of the images, as shown to users.
        notes: assumptions made at import, one sentence each.
        stands_for: the real set that a simulated set replaces; None for a real set.
        seed: seed of a simulated set.
        own: properties of a user's own set; None for the others.
    """

    name: str
    entries: tuple[Entry, ...]
    source: str = ""
    notes: tuple[str, ...] = ()
    stands_for: str | None = None
    seed: int | None = None
    own: OwnFacts | None = None

    @property
    def hash(self) -> str:
        """SHA-256 of the contents: ids, images, points, parts and groups.

        It does not depend on the source, the time or the original file names of the import.
        """
        contents = [
            [e.id, e.pixels_sha256 or e.image_sha256, e.points_sha256, e.part, e.group]
            for e in self.entries
        ]
        text = json.dumps(contents, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def to_json(self) -> str:
        """Format the manifest as the text of manifest.json."""
        fields = asdict(self)
        images = fields.pop("entries")
        if self.own is None:
            del fields["own"]
        document = {"format": FORMAT, **fields, "hash": self.hash, "images": images}
        return json.dumps(document, indent=1) + "\n"


def read_manifest(path: Path) -> Manifest:
    """Read and validate a manifest.json.

    Raises:
        UserError: the file cannot be read or is not a valid manifest.
    """
    try:
        document = read_json(path, most=MAX_BYTES)
        if type(document) is not dict or document["format"] != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}, which this version reads")
        for key, kinds in _KINDS.items():
            if type(document[key]) not in kinds:
                raise TypeError(f"{key} is {str(document[key])[:40]!r}")
        if not 0 <= (document["seed"] or 0) < 2**63:
            raise ValueError(f"seed is {str(document['seed'])[:40]}")
        if not all(type(note) is str for note in document["notes"]):
            raise TypeError("a note is no text")
        manifest = Manifest(
            name=document["name"],
            entries=tuple(_entry(fields) for fields in document["images"]),
            source=document["source"],
            notes=tuple(document["notes"]),
            stands_for=document["stands_for"],
            seed=document["seed"],
            own=None if document.get("own") is None else _own(document["own"]),
        )
        if len({entry.id for entry in manifest.entries}) < len(manifest.entries):
            raise ValueError("it has an image twice")
        return manifest
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); see its rights.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); import the set again with --force."
        ) from error


def _entry(fields: dict[str, Any]) -> Entry:
    width, height = fields["size"]
    entry = Entry(**{**fields, "size": (width, height)})
    # A manifest may be untrusted: its paths must stay inside the set's folder.
    if not _ID.fullmatch(entry.id) or not _SUFFIX.fullmatch(entry.suffix):
        raise ValueError(f"{entry.id!r}{entry.suffix} is no name of an image")
    for number, limit in ((width, 2**31), (height, 2**31), (entry.count, 10**9)):
        if type(number) is not int or not 0 <= number < limit:
            raise ValueError(f"{str(number)[:40]} is no whole number below {limit}")
    for digest in (entry.image_sha256, entry.points_sha256, entry.pixels_sha256 or "0" * 64):
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"a hash of {entry.id} is no SHA-256")
    if entry.part not in (None, "train", "test"):
        raise ValueError(f"{entry.id} is of the part {entry.part!r}")
    if not isinstance(entry.group, str | None):
        raise TypeError(f"{entry.id} is of the group {entry.group!r}")
    return entry


def _own(fields: dict[str, Any]) -> OwnFacts:
    formats = fields["formats"]
    if type(formats) is not list or not all(type(name) is str for name in formats):
        raise TypeError("its formats are no list of texts")
    facts = OwnFacts(**{**fields, "formats": tuple(formats)})
    for length in (facts.spacing_px, facts.um_per_px):
        if length is not None and not (type(length) in (int, float) and length > 0):
            raise ValueError(f"{str(length)[:40]} is no length")
    if type(facts.counts_only) is not bool:
        raise TypeError("counts_only is neither true nor false")
    return facts


@dataclass(frozen=True, slots=True)
class Published:
    """Files of a data set as its authors distribute them, with their hashes.

    Attributes:
        root: folder that the paths are relative to, as the authors name it.
        files: relative path -> SHA-256.
    """

    root: str
    files: dict[str, str]


def published_files(dataset: DataSet) -> Published | None:
    """Load the shipped list of a set's published files; None where no copy was available to us."""
    if dataset.manifest is None:
        return None
    path = Path(inspect.getfile(type(dataset))).parent / dataset.manifest
    try:
        document = read_json(path, most=MAX_BYTES)
        root, files = document["root"], dict(document["files"])
        if not all(type(text) is str for text in (root, *files.values())):
            raise TypeError("its root or one of its hashes is no text")
        return Published(root, files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"The manifest {path} of {dataset.name} cannot be read ({error}); "
            "install its plugin again."
        ) from error


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of a raw copy with the published files.

    Attributes:
        total: number of published files.
        found: published files whose bytes are in the copy, under any name.
        changed: published files whose name is in the copy with other bytes.
        missing: published files of which neither the bytes nor the name is in the copy.
    """

    total: int
    found: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def compare_with_published(published: Published, files: Iterable[Path]) -> Comparison:
    """Compare a raw copy with the published files, by hash and then by name.

    Args:
        published: from `published_files`.
        files: images and annotations of a raw copy, in any folders.
    """
    digests = {path: sha256_file(path) for path in files}
    hashes = set(digests.values())
    found = {name for name, digest in published.files.items() if digest in hashes}
    expected = set(published.files.values())
    unknown = [path for path, digest in digests.items() if digest not in expected]
    # ADI's images and annotations have the same file names, in two folders.
    names = {"/".join(path.parts[-depth:]) for path in unknown for depth in (1, 2, 3)}
    unmatched = [name for name in published.files if name not in found]
    return Comparison(
        total=len(published.files),
        found=tuple(sorted(found)),
        changed=tuple(sorted(name for name in unmatched if name in names)),
        missing=tuple(sorted(name for name in unmatched if name not in names)),
    )
