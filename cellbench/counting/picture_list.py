"""Which files of what a user names are pictures, and what is wrong with the others."""

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
"""How the reason begins for what a count wrote."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not counted.

    Attributes:
        path: of it.
        reason: a sentence or phrase: what it is, and what mends it.
        picture: whether it is, or may be, a picture that the user wants counted.
    """

    path: Path
    reason: str
    picture: bool


@dataclass(slots=True)
class PictureList:
    """The files below what was named.

    Attributes:
        pictures: each once, those of a folder in the order of their names.
        skipped: all others.
        below: the path of each picture below the folder that was named, with slashes, and of
            several folders with the name of each before it; of a file that was named itself its
            name.
    """

    pictures: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    below: dict[Path, str] = field(default_factory=dict)


def list_pictures(
    named: Sequence[str | Path], *, recursive: bool = False, without: Path | None = None
) -> PictureList:
    """List the pictures that are named and those of the folders that are named.

    Args:
        named: files and folders.
        recursive: whether folders within folders are looked into.
        without: folder of the tables: what was written there is passed over without a reason.

    What an earlier count wrote elsewhere is passed over too, with one reason for each folder.

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
            # Unlike Path.resolve, this takes links that lead in a circle.
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
    """Whether a folder is that of the tables, or one in it."""
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
