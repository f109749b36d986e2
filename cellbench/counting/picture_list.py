"""List of the pictures in given files and folders, with reasons for the files skipped."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cellbench.counting.written_files import is_counted, is_export, is_table, only_written
from cellbench.data.images import SUFFIXES, is_named_as_picture
from cellbench.data.slides import is_named_as_slide
from cellbench.data.vendor_files import how_to_read, is_named_as_vendor_file
from cellbench.errors import UserError

_MOST_DEPTH = 12
_NAMED_AS_PICTURES = (is_named_as_picture, is_named_as_vendor_file, is_named_as_slide)
WRITTEN = "`cellbench count` wrote"
"""Start of the reason for skipped files that an earlier count wrote."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """File or folder that is not counted.

    Attributes:
        path: its path.
        reason: a sentence or phrase: what it is, and how to have it counted if it can be.
        picture: whether it is, or may be, a picture that the user wants counted.
    """

    path: Path
    reason: str
    picture: bool


@dataclass(slots=True)
class PictureList:
    """Pictures and skipped files of the given paths.

    Attributes:
        pictures: each once, those of a folder in the order of their names.
        skipped: all others.
        below: path of each picture below the given folder, with slashes; with several folders, the
            folder's name comes first. For a file that was given itself, its name.
    """

    pictures: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    below: dict[Path, str] = field(default_factory=dict)


def list_pictures(
    named: Sequence[str | Path], *, recursive: bool = False, without: Path | None = None
) -> PictureList:
    """List the given pictures, and those in the given folders.

    Args:
        named: files and folders.
        recursive: whether subfolders are searched.
        without: folder of the tables of this count: files that a count wrote there are left out
            without a reason; those of other counts with one reason per folder.

    Raises:
        UserError: there is no such file or folder, or no picture in it.
    """
    found, real = PictureList(), {}
    tables = "" if without is None else os.path.realpath(without)
    several = sum(Path(text).is_dir() for text in named) > 1
    for text in named:
        place = Path(text)
        if place.is_dir():
            inside = list(_inside(place, found.skipped, recursive, tables, _MOST_DEPTH))
            if not inside:
                raise UserError(_no_picture(place, found.skipped))
        elif place.is_file():
            inside = [place]
        elif place.exists():
            raise UserError(f"{str(text)!r} is neither a picture nor a folder; name one of these.")
        else:
            raise UserError(f"There is no picture or folder {str(text)!r}.")
        for path in inside:
            # Unlike Path.resolve, realpath accepts circular links.
            key = os.path.realpath(path)
            if key not in real:
                real[key] = path
                found.pictures.append(path)
                below = path.name if path == place else path.relative_to(place).as_posix()
                if several and path != place:
                    below = f"{place.absolute().name}/{below}"
                found.below[path] = below.encode("utf-8", "replace").decode("utf-8")
            elif real[key] != path:
                same = f"it is the same file as {real[key]}, which is counted"
                found.skipped.append(Skipped(path, same, picture=False))
    if not found.pictures:
        raise UserError(
            "Name pictures or a folder of them: cellbench count photos/ --with runs/adi/<run>."
        )
    return found


def _inside(
    folder: Path,
    skipped: list[Skipped],
    recursive: bool,
    tables: str,
    depth: int,
    *,
    within_counted: bool = False,
) -> Iterator[Path]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be opened ({error.strerror}); see its rights."
        ) from None
    counted = is_counted(folder)
    folders, written = [], 0
    for path in inside:
        hidden = path.name.startswith((".", "__MACOSX"))
        if hidden:
            skipped.append(Skipped(path, "it is a hidden file of a system", picture=False))
        elif path.is_dir():
            folders.append(path)
        elif (counted and is_table(path)) or (within_counted and is_export(path, folder)):
            written += 1
        elif any(called(path) for called in _NAMED_AS_PICTURES):
            yield path
        else:
            reason = how_to_read(path)
            skipped.append(
                Skipped(path, reason or "it is not called what pictures are", bool(reason))
            )
    if written and not _is_of_tables(folder, tables):
        files = "one file" if written == 1 else f"{written} files"
        skipped.append(Skipped(folder, f"{WRITTEN} {files} in it", picture=False))
    for path in folders:
        if not recursive:
            written_alone = only_written(path, within_counted=counted)
            if written_alone and _is_of_tables(path, tables):
                continue
            if written_alone and any(path.iterdir()):
                skipped.append(Skipped(path, f"{WRITTEN} what is in it", picture=False))
            else:
                reason = "it is a folder; --recursive looks into it"
                skipped.append(Skipped(path, reason, picture=False))
        elif path.is_symlink() or not depth:
            skipped.append(Skipped(path, "it is a link to a folder, or too deep", False))
        else:
            yield from _inside(path, skipped, recursive, tables, depth - 1, within_counted=counted)


def _is_of_tables(folder: Path, tables: str) -> bool:
    """Return whether a folder is that of the tables, or directly in it."""
    real = os.path.realpath(folder)
    return bool(tables) and tables in (real, str(Path(real).parent))


def _no_picture(folder: Path, skipped: Sequence[Skipped]) -> str:
    known = [one for one in skipped if one.picture]
    if known:
        return (
            f"{folder} holds no picture that can be read: {known[0].path.name}: {known[0].reason}."
        )
    if any(one.reason.startswith(WRITTEN) for one in skipped):
        return (
            f"{folder} holds no picture but those that `cellbench count` wrote; name a folder of "
            "your own."
        )
    below = any("--recursive" in one.reason for one in skipped)
    return f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))}); name a folder that does" + (
        ": --recursive looks into the folders in it." if below else "."
    )
