"""Files of a folder, divided into images, possible annotations and others."""

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from cellbench.data.annotation_formats.known_formats import is_named_as_annotation
from cellbench.data.images import is_named_as_picture
from cellbench.errors import UserError

# Greatest depth of subfolders, as for `count`.
_DEPTH = 12
_MOST_FILES = 200_000
# Common names of folders of images and of annotations, in lower case.
_PICTURE_FOLDERS = {"images", "image", "imgs", "img", "pictures", "raw", "photos"}
_ANNOTATION_FOLDERS = {
    "annotations", "annotation", "labels", "label", "gt", "ground_truth", "groundtruth", "points",
    "dots", "masks", "mask", "rois", "roi", "segmentations",
}  # fmt: skip
# Common additions to an image's name in the names of its annotations.
_BEFORE = re.compile(r"^(cellcounter|counter window|results?|roiset|dots|masks?|labels?)[ _-]+")
_ANNOTATED = (
    "(dots?|(cp_)?masks?|labels?|seg|points?|annotations?|annotated|roiset|rois?|results?"
    "|counter|gt|counts?)"
)
_AFTER = re.compile(rf"[ _.-]*({_ANNOTATED}|cells?|table)$")
_WITHIN = re.compile(rf"[_ -]{_ANNOTATED}(?=[_ -])")
_AFTER_ANNOTATED = re.compile(rf"[ _.-]*{_ANNOTATED}$")


@dataclass(frozen=True)
class FolderFiles:
    """Files of a folder by kind, before they are read.

    Attributes:
        root: folder of the images.
        pictures: images, by folder and name.
        annotations: files named like annotations, by folder and name.
        others: files that are neither; hidden ones are in no list.
    """

    root: Path
    pictures: list[Path] = field(default_factory=list)
    annotations: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def find_files(source: Path, annotations: Path | None) -> FolderFiles:
    """Find the images and annotations of a folder and its subfolders.

    Args:
        source: folder of the images.
        annotations: folder or file of the annotations; None if they are in `source`: in a folder
            called labels, points, masks or the like, or beside the images.

    Raises:
        UserError: there is no such folder or no image in it, it cannot be read or holds too many
            files, or a link leads out of it.
    """
    for place in filter(None, (source, annotations)):
        if not place.exists():
            raise UserError(f"{place} does not exist; name the folder that holds the pictures.")
    if not source.is_dir():
        raise UserError(f"{source} is not a folder; name the one that holds the pictures.")
    apart = annotations is not None and annotations.resolve() != source.resolve()
    found = FolderFiles(source)
    listed = list(_walk(source))
    if apart and annotations is not None:
        inside = annotations.resolve()
        listed = [p for p in listed if inside not in (p.resolve(), *p.resolve().parents)]
        beside = [annotations] if annotations.is_file() else list(_walk(annotations))
        for path in beside:
            known = is_named_as_annotation(path) or is_named_as_picture(path)
            (found.annotations if known else found.others).append(path)
    named = [path for path in listed if is_named_as_picture(path)]
    plain = {path_key(path, source) for path in named if not _is_annotated(path, source)}
    for path in listed:
        if not apart and is_named_as_annotation(path):
            found.annotations.append(path)
        elif path not in named:
            found.others.append(path)
        elif not apart and (
            _in_folder(path, source, _ANNOTATION_FOLDERS)
            or (_is_annotated(path, source) and (plain and path_key(path, source) in plain))
        ):
            found.annotations.append(path)
        else:
            found.pictures.append(path)
    if not found.pictures:
        raise UserError(f"{source} and the folders in it hold no picture; name a folder of them.")
    return found


def folded_name(name: str) -> str:
    """Return a name in lower case with composed letters, by which files are matched.

    A name copied from a Mac may hold `ö` as `o` and a diaeresis; annotation programs write one
    letter, and both look the same.
    """
    return unicodedata.normalize("NFC", name).casefold()


def path_key(path: Path, root: Path) -> tuple[str, ...]:
    """Return the key that an image and its annotation share: folders and `shared_stem`."""
    *folders, _ = _relative(path, root)
    return (*folders, shared_stem(path.name))


def exact_key(path: Path, root: Path) -> tuple[str, ...]:
    """Return folders and name without its suffix, in lower case."""
    *folders, _ = _relative(path, root)
    return (*folders, folded_name(path.stem))


def shared_stem(name: str) -> str:
    """Return a file's name without suffixes and common additions, in lower case.

    >>> shared_stem("001cell.png"), shared_stem("001dots.png"), shared_stem("a.tif_mask.PNG")
    ('001', '001', 'a')
    """
    stem = folded_name(PurePath(name).stem)
    for _ in range(3):
        shorter = _WITHIN.sub("", _BEFORE.sub("", _AFTER.sub("", stem)))
        if is_named_as_picture(Path(shorter)):
            shorter = PurePath(shorter).stem
        if shorter in ("", stem):
            break
        stem = shorter
    return stem


def image_name(path: Path, root: Path) -> str:
    """Return the id of an image: its path below `root` without suffix, joined by dashes.

    Folders with common names, such as images, are left out.
    """
    parts = [*path.relative_to(root).parts[:-1], path.stem]
    return "-".join(part for part in parts if part.casefold() not in _PICTURE_FOLDERS)


def _relative(path: Path, root: Path) -> tuple[str, ...]:
    try:
        parts = path.relative_to(root).parts
    except ValueError:  # annotations in a folder elsewhere
        parts = (path.name,)
    known = _PICTURE_FOLDERS | _ANNOTATION_FOLDERS
    folders = (folded_name(part) for part in parts[:-1])
    return (*(folder for folder in folders if folder not in known), folded_name(parts[-1]))


def _in_folder(path: Path, root: Path, names: set[str]) -> bool:
    return any(part.casefold() in names for part in path.relative_to(root).parts[:-1])


def _is_annotated(path: Path, root: Path) -> bool:
    """Return whether an image file is named, or in a folder named, like annotations."""
    stem = path.stem.casefold()
    added = (_BEFORE, _WITHIN, _AFTER_ANNOTATED)
    return any(pattern.search(stem) for pattern in added) or _in_folder(
        path, root, _ANNOTATION_FOLDERS
    )


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, sorted by name within each; hidden ones are skipped."""
    root, seen = folder.resolve(), 0
    for place, folders, files in os.walk(folder, onerror=_refuse):
        deep = len(Path(place).relative_to(folder).parts)
        kept = sorted(name for name in folders if not name.startswith((".", "__")))
        folders[:] = kept if deep < _DEPTH else []
        for name in sorted(files):
            if name.startswith(".") or name in ("Thumbs.db", "desktop.ini"):
                continue
            path = Path(place) / name
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise UserError(
                    f"{path} is a link that leads out of {folder}; put the file itself there."
                )
            seen += 1
            if seen > _MOST_FILES:
                raise UserError(
                    f"{folder} holds more than {_MOST_FILES} files; name a smaller one."
                )
            yield path


def _refuse(error: OSError) -> None:
    raise UserError(
        f"The folder {error.filename} cannot be read ({error.strerror}); see its rights."
    )
