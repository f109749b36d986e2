"""Import a user's folder of images and annotations: read and validate it, then write the set."""

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
from cellbench.data.own_sets.measurements import SetStatistics, measure, set_config
from cellbench.data.own_sets.micrometre_points import in_pixels, stated_um_per_px
from cellbench.data.own_sets.pairing import FoundAnnotation, check_annotated, first, match_files
from cellbench.data.own_sets.placement import Placement
from cellbench.data.pixel_sizes import check_edge
from cellbench.data.reader import DEFAULT_READ_OPTIONS, ReadOptions, read_whole
from cellbench.data.set_writer import NewItem, Progress, write_set
from cellbench.data.stored_set import StoredSet, is_on_disk
from cellbench.errors import UserError
from cellbench.files.writing import safe_id
from cellbench.registry import DATASETS, SIMULATORS
from cellbench.structures import Points, no_points


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """Image with its annotation, read from a folder.

    Attributes:
        image_id: id in the set.
        path: path of the image file.
        size: (width, height), px.
        points: (N, 2) float32 px; empty where only a count is known.
        count: number of cells.
        group: name of the group that no split divides; None without a group.
    """

    image_id: str
    path: Path
    size: tuple[int, int]
    points: Points
    count: int
    group: str | None = None


@dataclass(frozen=True)
class ImportPlan:
    """Contents of a folder, read and validated but not yet written as a set.

    Attributes:
        name: name of the new set.
        source: the folder.
        pictures: images, sorted by id.
        facts: annotation formats, spacing, pixel size.
        measured: statistics of the cells.
        options: options for reading the images.
        notes: assumptions and omissions, one sentence each.
    """

    name: str
    source: Path
    pictures: tuple[PlannedImage, ...]
    facts: OwnFacts
    measured: SetStatistics
    options: ReadOptions = DEFAULT_READ_OPTIONS
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> list[int]:
        """Number of cells in each image."""
        return [picture.count for picture in self.pictures]

    @property
    def groups(self) -> int:
        """Number of groups; 0 without grouping."""
        return len({picture.group for picture in self.pictures if picture.group is not None})


def plan_import(
    name: str,
    source: Path,
    *,
    annotations: Path | None = None,
    group: str | None = None,
    um_per_px: float | None = None,
    options: ReadOptions = DEFAULT_READ_OPTIONS,
    skip_bare: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> ImportPlan:
    """Read and validate a folder of images and annotations, without writing anything.

    Args:
        name: name of the new set.
        source: folder of the images.
        annotations: folder or file of the annotations, if not `source`.
        group: see `group_pictures`.
        um_per_px: edge of a pixel in micrometres; by default the size that all files state.
        options: options for reading images.
        skip_bare: whether to leave out images without annotation.
        force: whether a set of this name may exist.
        progress: called after every image.

    Raises:
        UserError: the name is taken; a file cannot be read; or annotations contradict each other
            or the images.
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
    paired = match_files(files, apart=annotations)
    check_annotated(paired, files, skip_bare=skip_bare)
    unread = list(dict.fromkeys(path.name for path in (*files.others, *paired.unread)))
    if unread:
        notes.add(f"Neither pictures nor annotations, and not read: {first(unread)}.")
    if paired.bare:
        notes.add(f"{len(paired.bare)} pictures without annotation were left out.")
    chosen = {path: _most_detailed(found, path) for path, found in paired.annotations.items()}
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
    folder = _validated_folder(name, source, pictures, formats, um_per_px, placement, chosen, notes)
    return replace(folder, options=options)


def check_name(name: str) -> None:
    """Check that a name is not that of a published set, a simulator or a simulated set.

    Raises:
        UserError: the name is taken.
    """
    if name in DATASETS or name in SIMULATORS or "-sim" in name:
        raise UserError(f"{name!r} is the name of a set that cellbench has; choose another.")


def _most_detailed(found: Sequence[FoundAnnotation], picture: Path) -> FoundAnnotation:
    """Select the most detailed of an image's annotations, which must agree."""
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
) -> PlannedImage:
    read = read_whole(path, options)
    pixels = read.pixels
    notes.add(*(f"Reading: {note}." for note in read.notes))
    size = (pixels.shape[1], pixels.shape[0])
    check_sizes(found, path, size)
    if points is None:
        return PlannedImage("", path, size, no_points(), found.read.cells)
    kept, moved = inside(points, size, found.file)
    check_dots(kept, found.file)
    if moved:
        notes.add(f"{path.name} has {moved} points at its very edge, which were moved onto it.")
    twice = len(kept) - len(np.unique(kept, axis=0))
    if twice:
        notes.add(f"{path.name} has {twice} points that are there twice; all were kept.")
    placement.add(pixels, kept)
    return PlannedImage("", path, size, kept, len(kept))


def _validated_folder(
    name: str,
    source: Path,
    pictures: Sequence[PlannedImage],
    formats: Counter[str],
    um_per_px: float | None,
    placement: Placement,
    chosen: dict[Path, FoundAnnotation],
    notes: ImportNotes,
) -> ImportPlan:
    """Validate all images together, and collect their statistics.

    Raises:
        UserError: two images have one id, only some have positions, there is no cell, or the
            points do not fit the images.
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
    return ImportPlan(
        name=name,
        source=source,
        pictures=tuple(sorted(pictures, key=lambda picture: picture.image_id)),
        facts=OwnFacts(listed, measured.spacing_px, um_per_px, all(counted)),
        measured=measured,
        notes=tuple(notes),
    )


def write_planned_set(
    folder: ImportPlan,
    *,
    force: bool = False,
    beside: Mapping[str, bytes] | None = None,
) -> StoredSet:
    """Write the set of an import plan to `$CELLBENCH_HOME`, with its config.

    Images are stored in the form that `keep_picture` returns.

    Raises:
        UserError: a set of this name exists; an image is gone; the disk is full.
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


def _items(folder: ImportPlan) -> Iterator[NewItem]:
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
