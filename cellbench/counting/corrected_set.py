"""Corrected counts as annotations, so that what a person mended can teach the next method."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

import numpy as np

from cellbench.counting.corrections import CorrectionLog, annotators_of, apply_changes
from cellbench.counting.count_tables import COUNTS
from cellbench.counting.counted_folder import CountedFolder, CountedPicture
from cellbench.data.points import format_points
from cellbench.errors import UserError
from cellbench.files.writing import safe_id, sha256_file, writing


def is_corrected(folder: Path) -> bool:
    """Whether a folder holds counts that somebody has corrected or looked through."""
    return (folder / COUNTS).is_file() and bool(annotators_of(folder))


def people_of(counted: CountedFolder) -> dict[str, CorrectionLog]:
    """Those whose counts may be held against each other, by name; fewer than two are nobody.

    Where two or more have a file with their name, `corrected.csv` is what they agreed on; else it
    is a person's, unless it repeats the other file.
    """
    names = [name for name in annotators_of(counted.folder) if name]
    found = {name: CorrectionLog.open(counted.folder, name, counted.hashes) for name in names}
    own = CorrectionLog.open(counted.folder, "", counted.hashes)
    if len(found) == 1 and own.changes and own.changes != found[names[0]].changes:
        found["corrected"] = own
    return found if len(found) > 1 else {}


def people_file(counted: CountedFolder, names: Mapping[str, str]) -> bytes | None:
    """What each of several people counted in the pictures of a set, as the set keeps it.

    Args:
        counted: the counts.
        names: by path of a written picture below its folder, without suffix, its id in the set.

    Returns:
        JSON; None where fewer than two have corrected.
    """
    logs = people_of(counted)
    if not logs:
        return None
    pictures: dict[str, list[int | None]] = {}
    root = _root(counted)
    for picture in counted.pictures:
        image_id = names.get(_place(picture, root).as_posix())
        if image_id is None:
            continue
        pictures[image_id] = [_count_of(log, picture) for log in logs.values()]
    document = {"people": list(logs), "pictures": pictures}
    return (json.dumps(document, indent=1) + "\n").encode("ascii")


def _count_of(log: CorrectionLog, picture: CountedPicture) -> int | None:
    """The cells that a person counted in a picture; None where none were.

    A number without places that somebody let stand is the method's, and no person's.
    """
    changes = log.of(picture.name, picture.sha256)
    done = apply_changes(picture.places, changes)
    counted = bool(changes) and (picture.points is not None or len(done.added) > 0)
    return done.count if counted else None


def _root(counted: CountedFolder) -> Path:
    """The folder that holds all pictures of a count."""
    folders = [_whole_path(picture).parent for picture in counted.pictures]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # on several drives
        return Path()


def _whole_path(picture: CountedPicture) -> Path:
    # Links are not followed: people sort pictures into folders of links.
    return Path(os.path.normpath(picture_file(picture).absolute()))


def _place(picture: CountedPicture, root: Path) -> Path:
    """Where a picture is written, without suffix: its folders say which animal or slide it is of.

    Those of one name from two folders must not meet.
    """
    file = _whole_path(picture)
    below = file.parent.relative_to(root) if file.is_relative_to(root) else Path()
    seen = [part.lstrip("._") or "folder" for part in below.parts]  # others are hidden files
    return Path(*seen, safe_id(f"{file.stem}-{picture.sha256[:8]}"))


def write_corrected(counted: CountedFolder, target: Path, cells: Path) -> int:
    """Copy the pictures that a person has looked through, and write their cells as `x y` text.

    Args:
        counted: the counts; `corrected.csv` holds, or the file of the one person who has one.
        target: folder of the pictures, in the folders that they were in.
        cells: folder of the texts, likewise.

    Returns:
        How many pictures there are.

    Raises:
        UserError: several people have corrected and none of them in `corrected.csv`; a picture is
            gone or has changed; nobody has looked through any; the disk is full.
    """
    names = annotators_of(counted.folder)
    if "" not in names and len(names) > 1:
        raise UserError(
            f"{counted.folder} was corrected by {', '.join(names)}; copy the file of the one whose "
            "corrections hold to corrected.csv."
        )
    log = CorrectionLog.open(counted.folder, "" if "" in names else names[0], counted.hashes)
    root, written = _root(counted), 0
    for picture in counted.pictures:
        changes = log.of(picture.name, picture.sha256)
        done = apply_changes(picture.places, changes)
        # A number that was looked through says where no cell is, unless all were added by hand.
        if not changes or (picture.points is None and not len(done.added) and picture.count):
            continue
        path = picture_file(picture)
        if not path.is_file() or sha256_file(path) != picture.sha256:
            raise UserError(f"{path} is gone or has changed since it was counted; count it again.")
        points = np.concatenate([picture.places[done.kept], done.added]).astype(np.float32)
        place = _place(picture, root)
        with writing(target / place):
            for folder in (target, cells):
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / f"{place}{path.suffix}")
            (cells / f"{place}.txt").write_bytes(format_points(points))
        written += 1
    if not written:
        raise UserError(
            f"Nobody has looked through a picture of {counted.folder} yet; `cellbench view "
            f"{quote(str(counted.folder))}` shows them."
        )
    return written


def picture_file(picture: CountedPicture) -> Path:
    """Where a picture was when it was counted.

    Its name in the tables has a quote before it where a spreadsheet would take it for a formula.
    """
    named = Path(picture.name)
    return named if named.exists() else Path(picture.name.removeprefix("'"))


def moved_file(picture: CountedPicture, folder: Path | None) -> Path:
    """Where a picture is: where it was counted, or by its name in the folder that has it now."""
    if folder is None:
        return picture_file(picture)
    named = folder / Path(picture.name).name
    return named if named.exists() else folder / picture_file(picture).name
