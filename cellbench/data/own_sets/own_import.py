"""From a folder of pictures and annotations to a set of one's own: understood first, then kept."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cellbench import paths
from cellbench.data.import_notes import ImportNotes, as_unicode
from cellbench.data.kept_pictures import keep_picture
from cellbench.data.manifests import OwnFacts
from cellbench.data.own_sets.contradictions import (
    check_agreement,
    check_corner,
    check_dots,
    check_sizes,
    inside,
)
from cellbench.data.own_sets.folder_files import find_files, image_name
from cellbench.data.own_sets.groups import group_pictures
from cellbench.data.own_sets.measurements import Measured, measure, set_config
from cellbench.data.own_sets.micrometre_points import in_pixels, stated_um_per_px
from cellbench.data.own_sets.pairing import FoundAnnotation, check_annotated, first, pair
from cellbench.data.own_sets.placement import Placement
from cellbench.data.pixel_sizes import check_edge
from cellbench.data.reader import AS_THEY_COME, ReadOptions, read_whole
from cellbench.data.set_writer import NewItem, Progress, write_set
from cellbench.data.stored_set import StoredSet, is_on_disk
from cellbench.errors import UserError
from cellbench.files.writing import safe_id
from cellbench.registry import DATASETS, SIMULATORS
from cellbench.structures import Points, no_points


@dataclass(frozen=True, slots=True)
class UnderstoodPicture:
    """A picture with its cells.

    Attributes:
        image_id: its name in the set.
        path: of its file.
        size: (width, height), px.
        points: (N, 2) float32 px; empty where cells are counted and not marked.
        count: number of cells.
        group: what no split divides; None for the picture alone.
    """

    image_id: str
    path: Path
    size: tuple[int, int]
    points: Points
    count: int
    group: str | None = None


@dataclass(frozen=True)
class UnderstoodFolder:
    """What a folder holds, before anything is kept.

    Attributes:
        name: of the set to be.
        source: the folder.
        pictures: sorted by id.
        facts: formats, spacing, size of a pixel.
        measured: of the cells.
        options: how its pictures are read.
        notes: what was assumed and left out, one sentence each.
    """

    name: str
    source: Path
    pictures: tuple[UnderstoodPicture, ...]
    facts: OwnFacts
    measured: Measured
    options: ReadOptions = AS_THEY_COME
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> list[int]:
        """Cells of each picture."""
        return [picture.count for picture in self.pictures]

    @property
    def groups(self) -> int:
        """How many groups there are; 0 if none was asked for."""
        return len({picture.group for picture in self.pictures if picture.group is not None})


def understand_folder(
    name: str,
    source: Path,
    *,
    annotations: Path | None = None,
    group: str | None = None,
    um_per_px: float | None = None,
    options: ReadOptions = AS_THEY_COME,
    skip_bare: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> UnderstoodFolder:
    """Read a folder of pictures and annotations, and keep nothing.

    Args:
        name: of the set to be.
        source: folder of the pictures.
        annotations: folder or file of the annotations, where it is another.
        group: see `group_pictures`.
        um_per_px: edge of a pixel, micrometres; what all files state by default.
        options: how pictures are read.
        skip_bare: whether pictures without annotation are left out.
        force: whether a set of the name may be there.
        progress: called after every picture.

    Raises:
        UserError: the name is taken; a file cannot be read; or what is there contradicts itself.
    """
    check_name(name)
    check_edge(um_per_px)
    if is_on_disk(name) and not force:
        raise UserError(f"{name} is on disk already; --force replaces it.")
    source = Path(source).expanduser()
    annotations = None if annotations is None else Path(annotations).expanduser()
    files = find_files(source, annotations)
    notes = ImportNotes("pictures")
    grouped: dict[Path, str] = {}
    if group is not None:
        tables = [p for p in (*files.annotations, *files.others) if p.suffix.lower() == ".csv"]
        found_groups, table = group_pictures(group, files.pictures, tables, source)
        grouped = {path: as_unicode(name) for path, name in found_groups.items()}
        if table in files.annotations and len(files.annotations) > 1:
            files.annotations.remove(table)
    paired = pair(files, apart=annotations)
    check_annotated(paired, files, skip_bare=skip_bare)
    left = list(dict.fromkeys(path.name for path in (*files.others, *paired.unread)))
    if left:
        notes.add(f"Neither pictures nor annotations, and not read: {first(left)}.")
    if paired.bare:
        notes.add(f"{len(paired.bare)} pictures without annotation were left out.")
    chosen = {path: _chosen(found, path) for path, found in paired.annotations.items()}
    if um_per_px is None:
        um_per_px = stated_um_per_px(list(chosen), options, notes.add)
    points_of = in_pixels(chosen, um_per_px, options, notes.add)
    pictures = []
    placement = Placement()
    formats: Counter[str] = Counter()
    for done, (path, found) in enumerate(chosen.items(), start=1):
        picture = _read_picture(path, options, found, points_of.get(path), placement, notes)
        image_id = safe_id(image_name(path, source))
        pictures.append(replace(picture, image_id=image_id, group=grouped.get(path)))
        formats[found.format.name] += 1
        notes.add(*found.read.notes)
        if progress is not None:
            progress(done, len(chosen))
    folder = _checked(name, source, pictures, formats, um_per_px, placement, chosen, notes)
    return replace(folder, options=options)


def check_name(name: str) -> None:
    """Refuse a name that another set has, or that a simulator could.

    Raises:
        UserError: it is taken.
    """
    if name in DATASETS or name in SIMULATORS or "-sim" in name:
        raise UserError(f"{name!r} is the name of a set that cellbench has; choose another.")


def _chosen(found: Sequence[FoundAnnotation], picture: Path) -> FoundAnnotation:
    """The most detailed of annotations that agree."""
    best = max(found, key=lambda one: (one.read.points is not None, one.format.marks))
    for other in found:
        if other is not best:
            check_agreement(best, other, picture)
    return best


def _read_picture(
    path: Path,
    options: ReadOptions,
    found: FoundAnnotation,
    points: Points | None,
    placement: Placement,
    notes: ImportNotes,
) -> UnderstoodPicture:
    read = read_whole(path, options)
    pixels = read.pixels
    notes.add(*(f"Reading: {note}." for note in read.notes))
    size = (pixels.shape[1], pixels.shape[0])
    check_sizes(found, path, size)
    if points is None:
        return UnderstoodPicture("", path, size, no_points(), found.read.cells)
    kept, moved = inside(points, size, found.file)
    check_dots(kept, found.file)
    if moved:
        notes.add(f"{path.name} has {moved} points at its very edge, which were moved onto it.")
    twice = len(kept) - len(np.unique(kept, axis=0))
    if twice:
        notes.add(f"{path.name} has {twice} points that are there twice; all were kept.")
    placement.add(pixels, kept)
    return UnderstoodPicture("", path, size, kept, len(kept))


def _checked(
    name: str,
    source: Path,
    pictures: Sequence[UnderstoodPicture],
    formats: Counter[str],
    um_per_px: float | None,
    placement: Placement,
    chosen: dict[Path, FoundAnnotation],
    notes: ImportNotes,
) -> UnderstoodFolder:
    """Facts about all pictures together.

    Raises:
        UserError: they contradict what cells can be.
    """
    ids = Counter(picture.image_id.casefold() for picture in pictures)
    twice = next((p for p in pictures if ids[p.image_id.casefold()] > 1), None)
    if twice is not None:
        raise UserError(f"Two pictures go by the name {twice.image_id!r}; rename one of them.")
    counted = [found.read.points is None for found in chosen.values()]
    if any(counted) and not all(counted):
        raise UserError(
            f"{sum(counted)} of {len(counted)} pictures have a number of cells and no places; mark "
            "the cells of these too, or import them as a set of their own."
        )
    if not any(picture.count for picture in pictures):
        raise UserError(f"{source} has {len(pictures)} pictures and no cell in any of them.")
    points = [picture.points for picture in pictures]
    sizes = [picture.size for picture in pictures]
    calibrated = any(found.read.unit == "px or um" for found in chosen.values())
    check_corner(points, sizes, calibrated=calibrated)
    if placement.mistake:
        raise UserError(
            f"The points do not lie on what the pictures show, and would if {placement.mistake}; "
            "mend the annotation."
        )
    empty = [picture.image_id for picture in pictures if not picture.count]
    if empty:
        notes.add(f"Without any cell: {first(empty)}.")
    measured = measure(points, sizes, cells=sum(picture.count for picture in pictures))
    listed = tuple(
        form if len(formats) == 1 else f"{form} ({many})" for form, many in formats.most_common()
    )
    return UnderstoodFolder(
        name=name,
        source=source,
        pictures=tuple(sorted(pictures, key=lambda picture: picture.image_id)),
        facts=OwnFacts(listed, measured.spacing_px, um_per_px, all(counted)),
        measured=measured,
        notes=tuple(notes),
    )


def keep_set(
    folder: UnderstoodFolder,
    *,
    force: bool = False,
    beside: Mapping[str, bytes] | None = None,
) -> StoredSet:
    """Keep an understood folder as a set in `$CELLBENCH_HOME`, with its config.

    Of its pictures see `keep_picture`.

    Raises:
        UserError: a set of the name is there; a picture is gone; the disk is full.
    """
    config = {"data": set_config(folder.name, folder.measured)}
    return write_set(
        folder.name,
        _items(folder),
        source=as_unicode(f"imported from a folder called {folder.source.resolve().name}"),
        notes=folder.notes,
        own=folder.facts,
        beside={
            **(beside or {}),
            paths.SET_CONFIG: (json.dumps(config, indent=1) + "\n").encode("ascii"),
        },
        force=force,
    )


def _items(folder: UnderstoodFolder) -> Iterator[NewItem]:
    for picture in folder.pictures:
        kept = keep_picture(picture.path, folder.options)
        yield NewItem(
            image_id=picture.image_id,
            picture=kept.picture,
            suffix=kept.suffix,
            size=kept.size,
            points=picture.points,
            count=picture.count if folder.facts.counts_only else None,
            group=picture.group,
        )
