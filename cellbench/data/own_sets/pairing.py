"""Match annotations with the images of a folder."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cellbench.data.annotation_formats.file_annotation import FileAnnotation, combined_classes_note
from cellbench.data.annotation_formats.known_formats import AnnotationFormat, format_of
from cellbench.data.annotation_formats.label_studio import uploaded_name
from cellbench.data.annotation_formats.point_tables import SUFFIXES, named_pictures
from cellbench.data.images import is_named_as_picture
from cellbench.data.own_sets.folder_files import (
    FolderFiles,
    exact_key,
    folded_name,
    path_key,
    shared_stem,
)
from cellbench.errors import UserError

Key = Callable[[Path], tuple[str, ...]]

_SHOWN = 3
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


@dataclass(frozen=True, slots=True)
class FoundAnnotation:
    """Annotation of one image, with its file and format."""

    file: Path
    format: AnnotationFormat
    read: FileAnnotation


@dataclass
class MatchedFiles:
    """Images matched with their annotations.

    Attributes:
        annotations: annotations of each image that has any, in the order of the images.
        bare: images without annotation.
        unread: files named like annotations that could not be read, each with the reason.
    """

    annotations: dict[Path, list[FoundAnnotation]] = field(default_factory=dict)
    bare: list[Path] = field(default_factory=list)
    unread: dict[Path, str] = field(default_factory=dict)

    def why_unread(self) -> str:
        """Return why the likeliest annotation of `unread` was not read; empty if there is none.

        Text files come last, since a README may be one.
        """
        likeliest = sorted(self.unread, key=lambda path: path.suffix.lower() == ".txt")
        return self.unread[likeliest[0]] if likeliest else ""


def match_files(files: FolderFiles, *, apart: Path | None = None) -> MatchedFiles:
    """Read all annotations and match each with its image.

    The match is by the file's name, which is that of the image with common additions (`_dots`,
    `_mask`), or by the image name that the file states.

    Args:
        files: from `find_files`.
        apart: folder or file of the annotations, if not the folder of the images.

    Raises:
        UserError: an annotation matches no image or several; or a file cannot be read that has the
            name of an image, is an image itself, states the name of one, or is `apart`.
    """
    images = _ImageIndex(files)
    found: dict[Path, list[FoundAnnotation]] = {}
    paired = MatchedFiles()
    orphans: list[str] = []
    nameless = False  # whether a table states no image and has the name of none
    for file in files.annotations:
        root = files.root if apart is None or apart.is_file() else apart
        matched = images.by_file(file, root)
        try:
            format_ = format_of(file)
            annotations = format_.read(file)
        except UserError as error:
            expected = matched is not None or is_named_as_picture(file) or file == apart
            if not expected and not images.names_one(file):
                paired.unread[file] = str(error)  # a README, a table of something else
                continue
            raise
        single = len(files.pictures) == len(files.annotations) == len(annotations) == 1
        if matched is None and single:
            matched = files.pictures[0]
        several = len(annotations) > 1
        if matched is not None and several and not images.knows_any(annotations, file):
            annotations = [_merge_labels(annotations)]
        for one in annotations:
            picture = _picture_of(file, matched, one, images, alone=len(annotations) == 1)
            if picture is None:
                nameless = nameless or (one.picture is None and file.suffix.lower() in SUFFIXES)
                orphans.append(file.name if one.picture is None else f"{file.name}: {one.picture}")
            else:
                found.setdefault(picture, []).append(FoundAnnotation(file, format_, one))
    for file in files.others:
        if file.suffix.lower() in _SPREADSHEETS:
            paired.unread[file] = f"{file} is a workbook; save its sheet as CSV."
    if orphans:
        raise UserError(
            f"{len(orphans)} annotation{' has' if len(orphans) == 1 else 's have'} no picture in "
            f"{files.root}: {first(orphans)}; put the picture there or take the annotation out."
            + (
                " A table of many pictures names them in a column called image."
                if nameless and not found
                else ""
            )
        )
    for picture in files.pictures:
        if picture in found:
            paired.annotations[picture] = found[picture]
        else:
            paired.bare.append(picture)
    return paired


def check_annotated(paired: MatchedFiles, files: FolderFiles, *, skip_bare: bool) -> None:
    """Check that all images have an annotation, or some if `skip_bare`.

    Args:
        paired: from `match_files`.
        files: the files given to `match_files`.
        skip_bare: whether images without annotation are left out.

    Raises:
        UserError: no image has an annotation, or some lack one and are not left out; with the
            reason why a likely annotation was not read.
    """
    many, why = len(files.pictures), paired.why_unread()
    if not paired.annotations:
        raise UserError(
            f"{files.root} holds {many} pictures and no annotation "
            + (
                f"that can be read: {why}"
                if why
                else "of them; name the folder or file that has it with --annotations."
            )
        )
    if paired.bare and not skip_bare:
        names = [path.name for path in paired.bare]
        raise UserError(
            f"{len(names)} of {many} pictures have no annotation: {first(names)}; annotate them "
            "(an empty file for no cell), or leave them out with --skip-bare."
            + (f" Not read: {why}" if why else "")
        )


class _ImageIndex:
    """Index of the images by the names that an annotation may use for them."""

    def __init__(self, files: FolderFiles) -> None:
        self._root = files.root
        self._exact = _group_by(files.pictures, lambda path: exact_key(path, files.root))
        self._loose = _group_by(files.pictures, lambda path: path_key(path, files.root))
        self._names = _group_by(files.pictures, lambda path: (folded_name(path.name),))
        self._stems = _group_by(files.pictures, lambda path: (folded_name(path.stem),))
        self._shared = _group_by(files.pictures, lambda path: (shared_stem(path.name),))

    def by_file(self, file: Path, root: Path) -> Path | None:
        """Return the image that an annotation's file name matches; None without a match.

        Raises:
            UserError: two images match.
        """
        stem = folded_name(file.name).removesuffix(file.suffix.casefold())
        for table, key in (
            (self._exact, exact_key(file, root)),
            (self._names, (stem,)),  # a.png.txt
            (self._loose, path_key(file, root)),
            (self._stems, (folded_name(file.stem),)),
            (self._shared, (shared_stem(file.name),)),
        ):
            if key in table:
                return _single(table[key], str(file))
        return None

    def by_name(self, name: str, file: Path) -> Path | None:
        """Return the image of a name stated in `file`, with suffix or without; None if unknown.

        Folders in the name decide between images of the same name.

        Raises:
            UserError: two images match.
        """
        parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
        *folders, end = parts or [""]
        last = Path(end)
        for table, key in (
            (self._names, folded_name(last.name)),
            (self._stems, folded_name(last.stem) if last.suffix else folded_name(last.name)),
            (self._stems, folded_name(last.name)),
            (self._names, uploaded_name(folded_name(last.name))),
            (self._stems, uploaded_name(folded_name(last.stem))),
        ):
            if (key,) in table:
                return _single(_in_folders(table[(key,)], folders), f"{file}: {name}")
        return None

    def names_one(self, file: Path) -> bool:
        """Return whether a table of counts or cells names any of the images.

        Raises:
            UserError: two images match a name in it.
        """
        if file.suffix.lower() not in SUFFIXES:
            return False
        return any(self.by_name(name, file) is not None for name in named_pictures(file))

    def knows_any(self, annotations: Iterable[FileAnnotation], file: Path) -> bool:
        """Return whether any of a file's annotations names one of the images.

        Raises:
            UserError: two images match a name.
        """
        return any(one.picture and self.by_name(one.picture, file) for one in annotations)


def _group_by(paths: Iterable[Path], key: Key) -> dict[tuple[str, ...], list[Path]]:
    found: dict[tuple[str, ...], list[Path]] = {}
    for path in paths:
        found.setdefault(key(path), []).append(path)
    return found


def _in_folders(paths: Sequence[Path], folders: Sequence[str]) -> Sequence[Path]:
    """Select the paths whose parent folders match the longest end of `folders`; all if none do."""
    wanted = [folded_name(folder) for folder in folders]
    for many in range(len(wanted), 0, -1) if len(paths) > 1 else ():
        fits = [
            path
            for path in paths
            if [folded_name(part) for part in path.absolute().parts[:-1]][-many:] == wanted[-many:]
        ]
        if fits:
            return fits
    return paths


def _single(paths: Sequence[Path], what: str) -> Path:
    if len(paths) > 1:
        raise UserError(
            f"{what} may be of {paths[0].name} or of {paths[1].name} "
            f"({paths[0].parent}, {paths[1].parent}); rename one of them."
        )
    return paths[0]


def _picture_of(
    file: Path, matched: Path | None, one: FileAnnotation, images: _ImageIndex, *, alone: bool
) -> Path | None:
    stated = None if one.picture is None else images.by_name(one.picture, file)
    if matched is None or not alone:
        return stated
    if stated is not None and stated != matched:
        raise UserError(
            f"{file} goes by the name of {matched.name} and states that it is of {stated.name}; "
            "rename it, or annotate it again."
        )
    return matched


def _merge_labels(annotations: Sequence[FileAnnotation]) -> FileAnnotation:
    """Merge the annotations of a table whose column `label` names classes instead of images.

    Args:
        annotations: annotations of a file whose name matches one image.
    """
    points = [one.points for one in annotations if one.points is not None]
    if len(points) < len(annotations):  # counts of images that are not in the folder
        return annotations[0]
    kinds = combined_classes_note(sorted(one.picture or "" for one in annotations), "labels")
    return replace(
        annotations[0],
        points=np.concatenate(points),
        picture=None,
        shift_px=max(one.shift_px for one in annotations),
        notes=(*annotations[0].notes, *kinds),
    )


def first(names: Sequence[str]) -> str:
    """Format the first names of a list, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
