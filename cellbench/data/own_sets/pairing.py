"""Which annotation is of which picture."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cellbench.data.annotation_formats.file_annotation import FileAnnotation, together
from cellbench.data.annotation_formats.known_formats import AnnotationFormat, format_of
from cellbench.data.annotation_formats.label_studio import uploaded_name
from cellbench.data.annotation_formats.point_tables import SUFFIXES, named_pictures
from cellbench.data.images import is_named_as_picture
from cellbench.data.own_sets.folder_files import FolderFiles, exact_key, path_key, shared_stem
from cellbench.errors import UserError

Key = Callable[[Path], tuple[str, ...]]

_SHOWN = 3
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


@dataclass(frozen=True, slots=True)
class FoundAnnotation:
    """An annotation with the file that holds it."""

    file: Path
    format: AnnotationFormat
    read: FileAnnotation


@dataclass
class Paired:
    """Pictures with what annotates them.

    Attributes:
        annotations: of each picture that has any, in the order of the pictures.
        bare: pictures without annotation.
        unread: files that are called what annotations are called and are none, each with the
            sentence that says why.
    """

    annotations: dict[Path, list[FoundAnnotation]] = field(default_factory=dict)
    bare: list[Path] = field(default_factory=list)
    unread: dict[Path, str] = field(default_factory=dict)

    def why_unread(self) -> str:
        """Why the file was not read that most looks like an annotation; empty where there is none.

        Texts come last: a README is one.
        """
        looks_like = sorted(self.unread, key=lambda path: path.suffix.lower() == ".txt")
        return self.unread[looks_like[0]] if looks_like else ""


def pair(files: FolderFiles, *, apart: Path | None = None) -> Paired:
    """Read all annotations and find the picture of each.

    A file goes by its name: that of the picture, with what people add to it (`_dots`, `_mask`),
    or by the name that it states.

    Args:
        files: from `find_files`.
        apart: folder or file of the annotations, where it is not the folder of the pictures.

    Raises:
        UserError: an annotation has no picture, two could be meant, or a file that goes by a
            picture's name, names one or is `apart` cannot be read.
    """
    places = _Pictures(files)
    found: dict[Path, list[FoundAnnotation]] = {}
    paired = Paired()
    orphans: list[str] = []
    for file in files.annotations:
        root = files.root if apart is None or apart.is_file() else apart
        own = places.by_file(file, root)
        try:
            format_ = format_of(file)
            annotations = format_.read(file)
        except UserError as error:
            meant = own is not None or is_named_as_picture(file) or file == apart
            if not meant and not places.names_one(file):
                paired.unread[file] = str(error)  # a README, a table of something else
                continue
            raise
        if own is None and len(files.pictures) == len(files.annotations) == len(annotations) == 1:
            own = files.pictures[0]
        if own is not None and len(annotations) > 1 and not places.knows_any(annotations, file):
            annotations = [_of_kinds(annotations)]
        for one in annotations:
            picture = _picture_of(file, own, one, places, alone=len(annotations) == 1)
            if picture is None:
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
        )
    for picture in files.pictures:
        if picture in found:
            paired.annotations[picture] = found[picture]
        else:
            paired.bare.append(picture)
    return paired


def check_annotated(paired: Paired, files: FolderFiles, *, skip_bare: bool) -> None:
    """Refuse pictures without annotation, with what could not be read as one.

    Args:
        paired: from `pair`.
        files: that it was given.
        skip_bare: whether some may be left out.

    Raises:
        UserError: no picture has one, or some have none and are not left out.
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


class _Pictures:
    """Pictures by the names that an annotation may give."""

    def __init__(self, files: FolderFiles) -> None:
        self._root = files.root
        self._exact = _by(files.pictures, lambda path: exact_key(path, files.root))
        self._loose = _by(files.pictures, lambda path: path_key(path, files.root))
        self._names = _by(files.pictures, lambda path: (path.name.casefold(),))
        self._stems = _by(files.pictures, lambda path: (path.stem.casefold(),))
        self._shared = _by(files.pictures, lambda path: (shared_stem(path.name),))

    def by_file(self, file: Path, root: Path) -> Path | None:
        """The picture that goes by the name of a file.

        Raises:
            UserError: two do.
        """
        stem = file.name.casefold().removesuffix(file.suffix.casefold())
        for table, key in (
            (self._exact, exact_key(file, root)),
            (self._names, (stem,)),  # a.png.txt
            (self._loose, path_key(file, root)),
            (self._stems, (file.stem.casefold(),)),
            (self._shared, (shared_stem(file.name),)),
        ):
            if key in table:
                return _single(table[key], str(file))
        return None

    def by_name(self, name: str, file: Path) -> Path | None:
        """The picture that a file names: by its whole name, else without suffix.

        Of several of one name it is the one in the folders that are named before it.

        Raises:
            UserError: two go by that name.
        """
        parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
        *folders, end = parts or [""]
        last = Path(end)
        for table, key in (
            (self._names, last.name.casefold()),
            (self._stems, last.stem.casefold() if last.suffix else last.name.casefold()),
            (self._stems, last.name.casefold()),
            (self._names, uploaded_name(last.name.casefold())),
            (self._stems, uploaded_name(last.stem.casefold())),
        ):
            if (key,) in table:
                return _single(_in_folders(table[(key,)], folders), f"{file}: {name}")
        return None

    def names_one(self, file: Path) -> bool:
        """Whether a table of counts or of cells names any of the pictures.

        Raises:
            UserError: two go by a name in it.
        """
        if file.suffix.lower() not in SUFFIXES:
            return False
        return any(self.by_name(name, file) is not None for name in named_pictures(file))

    def knows_any(self, annotations: Iterable[FileAnnotation], file: Path) -> bool:
        """Whether any of a file's annotations names a picture.

        Raises:
            UserError: two go by a name in it.
        """
        return any(one.picture and self.by_name(one.picture, file) for one in annotations)


def _by(paths: Iterable[Path], key: Key) -> dict[tuple[str, ...], list[Path]]:
    found: dict[tuple[str, ...], list[Path]] = {}
    for path in paths:
        found.setdefault(key(path), []).append(path)
    return found


def _in_folders(paths: Sequence[Path], folders: Sequence[str]) -> Sequence[Path]:
    """Of pictures of one name those that lie in most of the named folders, the last one first."""
    wanted = [folder.casefold() for folder in folders]
    for many in range(len(wanted), 0, -1) if len(paths) > 1 else ():
        fits = [
            path
            for path in paths
            if [part.casefold() for part in path.absolute().parts[:-1]][-many:] == wanted[-many:]
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
    file: Path, own: Path | None, one: FileAnnotation, places: _Pictures, *, alone: bool
) -> Path | None:
    stated = None if one.picture is None else places.by_name(one.picture, file)
    if own is None or not alone:
        return stated
    if stated is not None and stated != own:
        raise UserError(
            f"{file} goes by the name of {own.name} and states that it is of {stated.name}; "
            "rename it, or annotate it again."
        )
    return own


def _of_kinds(annotations: Sequence[FileAnnotation]) -> FileAnnotation:
    """One annotation of a table whose column `label` names kinds of cells and no pictures.

    Args:
        annotations: of a file that goes by the name of one picture.
    """
    points = [one.points for one in annotations if one.points is not None]
    if len(points) < len(annotations):  # counts of pictures that are not there
        return annotations[0]
    kinds = together(sorted(one.picture or "" for one in annotations), "labels")
    return replace(
        annotations[0],
        points=np.concatenate(points),
        picture=None,
        shift_px=max(one.shift_px for one in annotations),
        notes=(*annotations[0].notes, *kinds),
    )


def first(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
