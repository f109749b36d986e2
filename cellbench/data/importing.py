"""Import of a raw copy of a data set, as its authors distribute it, into the canonical form."""

import errno
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellbench.data.contracts import DataSet, RawItem, ReadPoints
from cellbench.data.import_notes import ImportNotes
from cellbench.data.kept_pictures import KeptPicture, keep_picture
from cellbench.data.manifests import compare_with_published, published_files
from cellbench.data.named_dataset import find_dataset
from cellbench.data.own_sets.own_dataset import OwnSet
from cellbench.data.own_sets.pairing import first
from cellbench.data.set_writer import NewItem, Progress, write_set
from cellbench.data.stored_set import StoredSet, is_on_disk
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import check_file
from cellbench.files.writing import safe_id


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Result of an import.

    Attributes:
        stored: the set on disk.
        mean: cells per image.
        sd: standard deviation of the cells per image, population form.
        published: number of published files that are there, and their total; None if no list of
            them exists.
        notes: assumptions and anomalies, one sentence each.
    """

    stored: StoredSet
    mean: float
    sd: float
    published: tuple[int, int] | None
    notes: tuple[str, ...]

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.stored)


def import_set(
    name: str, source: Path, *, force: bool = False, progress: Progress | None = None
) -> ImportReport:
    """Read a raw copy, check it, and store it in the canonical form.

    Image files are stored unchanged where `keep_picture` allows it. Nothing is stored unless every
    image is complete, has its annotation, and all points lie inside it.

    Args:
        name: of a registered data set.
        source: folder of the raw copy, or its parent.
        force: whether a set that is on disk already is replaced.
        progress: called after every image.

    Raises:
        UserError: unknown set, missing folder, no image of the set in it, a missing annotation, a
            damaged file, a point outside its image, a full disk.
    """
    dataset = find_dataset(name)
    if isinstance(dataset, OwnSet):
        dataset.scan(source)  # raises: own images are imported with --own
    source = Path(source).expanduser()
    if not source.is_dir():
        kind = "is not a folder" if source.exists() else "does not exist"
        raise UserError(f"{source} {kind}; name the folder that holds the raw copy of {name}.")
    if is_on_disk(name) and not force:
        raise UserError(f"{name} is on disk already; --force imports it again.")
    try:
        items = dataset.scan(source)
    except OSError as error:
        raise UserError(f"{source} cannot be read ({error.strerror}); see its rights.") from error
    _check_items(dataset, items, source)

    notes = ImportNotes("images")
    published = _compare(dataset, items, notes)
    notes.add(*_duplicates(items))
    stored = write_set(
        name,
        _read_items(dataset, items, notes),
        source=f"imported from a folder called {source.resolve().name}",
        notes=notes,
        force=force,
        progress=progress,
        total=len(items),
    )
    counts = np.array([entry.count for entry in stored.manifest.entries], dtype=np.float64)
    return ImportReport(stored, float(counts.mean()), float(counts.std()), published, stored.notes)


def _check_items(dataset: DataSet, items: Sequence[RawItem], source: Path) -> None:
    if not items:
        raise UserError(f"{source} holds no image of {dataset.name}; {dataset.instructions}")
    alone = [item.image.name for item in items if item.annotation is None]
    if alone:
        raise UserError(
            f"{len(alone)} image{'s' * (len(alone) > 1)} of {dataset.name} without annotation: "
            f"{first(alone)}; put the missing files beside the others, nothing was imported."
        )
    # A raw copy is untrusted: a link must not import a file from outside it.
    root = source.resolve()
    for item in items:
        for path in filter(None, (item.image, item.annotation)):
            if not path.resolve().is_relative_to(root):
                raise UserError(
                    f"{path} is a link that leads out of {source}; put the file itself there."
                )
            try:
                check_file(path, most=FILE.size)
            except OSError as error:
                mend = FILE.mend if error.errno == errno.EFBIG else "mend it or take it out"
                raise UserError(
                    f"{path} cannot be read ({error.strerror}); {mend}, nothing was imported."
                ) from error


def _compare(
    dataset: DataSet, items: Sequence[RawItem], notes: ImportNotes
) -> tuple[int, int] | None:
    published = published_files(dataset)
    if published is None:
        notes.add(
            f"No list of the published files of {dataset.title} exists: "
            "what was imported is not compared with it."
        )
        return None
    files = [path for item in items for path in (item.image, item.annotation) if path is not None]
    try:
        comparison = compare_with_published(published, files)
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror}); see its rights."
        ) from error
    found = len(comparison.found)
    notes.add(f"{found} of {comparison.total} files are the published ones.")
    if found and comparison.changed:
        notes.add(f"Not as published: {first(comparison.changed)}.")
    if found and comparison.missing:
        notes.add(f"Published and not there: {first(comparison.missing)}.")
    return found, comparison.total


def _duplicates(items: Sequence[RawItem]) -> Iterator[str]:
    """Yield a note for each byte-identical copy, which may be on the other side of a split."""
    sizes: dict[int, list[RawItem]] = {}
    for item in items:
        if item.index is None:
            sizes.setdefault(item.image.stat().st_size, []).append(item)
    seen: dict[bytes, str] = {}
    for group in sizes.values():
        for item in group if len(group) > 1 else ():
            data = hashlib.sha256(item.image.read_bytes()).digest()
            if data in seen:
                yield f"{item.image_id} is the same picture as {seen[data]}."
            seen.setdefault(data, item.image_id)
        seen.clear()


def _read_items(
    dataset: DataSet, items: Sequence[RawItem], notes: ImportNotes
) -> Iterator[NewItem]:
    counts = []
    for item in items:
        kept = _keep(dataset, item)  # a truncated image is found here, not later
        size = kept.size
        notes.add(*kept.notes)
        read = dataset.read_annotation(item, size=size)
        _check_points(item, read, size, notes)
        counts.append(len(read.points))
        notes.add(*read.notes)
        yield NewItem(
            image_id=safe_id(item.image_id),
            picture=kept.picture,
            suffix=kept.suffix,
            size=size,
            points=read.points,
            part=item.part,
            group=item.group,
        )
    notes.add(*_unusual(dataset, counts))


def _keep(dataset: DataSet, item: RawItem) -> KeptPicture:
    if item.index is None:
        return keep_picture(item.image)
    pixels = dataset.read_picture(item)
    return KeptPicture(pixels, ".png", (pixels.shape[1], pixels.shape[0]), ())


def _check_points(
    item: RawItem, read: ReadPoints, size: tuple[int, int], notes: ImportNotes
) -> None:
    points = read.points
    outside = (points < 0).any(axis=1) | (points >= np.array(size, np.float32)).any(axis=1)
    if outside.any():
        x, y = points[outside][0]
        raise UserError(
            f"{item.annotation} has {int(outside.sum())} of {len(points)} points outside its "
            f"picture of {size[0]}x{size[1]} px, the first at ({x:g}, {y:g}); mend the "
            "annotation, nothing was imported."
        )
    twice = len(points) - len(np.unique(points, axis=0))
    if twice:
        notes.add(f"{item.image_id} has {twice} points that are there twice; all were kept.")


def _unusual(dataset: DataSet, counts: Sequence[int]) -> Iterator[str]:
    """Yield notes on differences from the set as it is distributed."""
    if dataset.images not in (None, len(counts)):
        yield (
            f"{dataset.title} has {dataset.images} images as distributed, here are {len(counts)}: "
            "protocol v1 needs them all."
        )
    if dataset.count is None:
        return
    mean, sd = float(np.mean(counts)), float(np.std(counts))
    expected, spread = dataset.count
    if abs(mean - expected) > 0.1 or abs(sd - spread) > 0.1:
        yield (
            f"{mean:.1f} ± {sd:.1f} cells an image are not the {expected:.1f} ± {spread:.1f} of "
            f"{dataset.title} as distributed."
        )
