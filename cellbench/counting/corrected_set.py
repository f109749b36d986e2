"""Export of corrected counts as annotations, to train methods on them."""

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
from cellbench.counting.unpacked_stacks import PLANES
from cellbench.data.points import format_points
from cellbench.errors import UserError
from cellbench.files.writing import explained_writing, safe_id, sha256_file

# The stack in the name of an imported plane, such as movie in movie_T03-1a2b3c4d-5e6f7a8b.tif.
_STACK_OF_NAME = r"^(.*?)(?:_[A-Z]\d+)*(?:-[0-9a-f]{8})+(?:\.[^./]*)?$"


def is_corrected(folder: Path) -> bool:
    """Return whether a folder holds counts that somebody has corrected or checked."""
    return (folder / COUNTS).is_file() and bool(annotators_of(folder))


def annotator_logs(counted: CountedFolder) -> dict[str, CorrectionLog]:
    """Open the correction logs of independent annotators, by name; empty for fewer than two.

    With two or more named files, `corrected.csv` is their consensus and is left out; with one, it
    is a second annotator's, unless its changes are the same.
    """
    names = [name for name in annotators_of(counted.folder) if name]
    found = {name: CorrectionLog.open(counted.folder, name, counted.hashes) for name in names}
    unnamed = CorrectionLog.open(counted.folder, "", counted.hashes)
    if len(found) == 1 and unnamed.changes and unnamed.changes != found[names[0]].changes:
        found["corrected"] = unnamed
    return found if len(found) > 1 else {}


def annotator_counts(counted: CountedFolder, names: Mapping[str, str]) -> bytes | None:
    """Serialise the counts of several annotators for the pictures of a set.

    Args:
        counted: the counts.
        names: image id in the set by the path of the written picture, relative to its folder and
            without suffix.

    Returns:
        JSON: `people`, their names, and `pictures`, by image id a count for each of them, null
        where they have none. None for fewer than two annotators.
    """
    logs = annotator_logs(counted)
    if not logs:
        return None
    pictures: dict[str, list[int | None]] = {}
    root = _root(counted)
    for picture in counted.pictures:
        image_id = names.get(_target_path(picture, root).as_posix())
        if image_id is None:
            continue
        pictures[image_id] = [_count_of(log, picture) for log in logs.values()]
    document = {"people": list(logs), "pictures": pictures}
    return (json.dumps(document, indent=1) + "\n").encode("ascii")


def _count_of(log: CorrectionLog, picture: CountedPicture) -> int | None:
    """Return an annotator's count of a picture; None if they did not count it.

    For a method without points, an unchanged count is the method's and not the annotator's.
    """
    changes = log.of(picture.name, picture.sha256)
    done = apply_changes(picture.places, changes)
    counted = bool(changes) and (picture.points is not None or len(done.added) > 0)
    return done.count if counted else None


def _root(counted: CountedFolder) -> Path:
    """Return the common parent folder of all pictures of a count."""
    folders = [_whole_path(picture).parent for picture in counted.pictures]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # on several drives
        return Path()


def _whole_path(picture: CountedPicture) -> Path:
    # Links are not followed: users sort pictures into folders of symbolic links.
    return Path(os.path.normpath(picture_file(picture).absolute()))


def _target_path(picture: CountedPicture, root: Path) -> Path:
    """Return the relative path to write a picture to, without suffix.

    Its folders are kept, since they often name the animal or slide. The hash separates pictures
    of the same name.
    """
    file = _whole_path(picture)
    below = file.parent.relative_to(root) if file.is_relative_to(root) else Path()
    # The import passes over folders whose names start with a dot or two underscores.
    seen = [part.lstrip("._") or "folder" for part in below.parts]
    return Path(*seen, safe_id(f"{file.stem}-{picture.sha256[:8]}"))


def group_of_planes(counted: CountedFolder) -> str | None:
    """Return the pattern that groups the imported planes of a stack; None if no stack was counted.

    Frames of a time series are nearly equal, so that no split may divide them.
    """
    stacks = any(Path(picture.name).parent.name == PLANES for picture in counted.pictures)
    return _STACK_OF_NAME if stacks else None


def write_corrected(counted: CountedFolder, target: Path, cells: Path) -> int:
    """Copy the checked pictures, and write their corrected cells as `x y` text files.

    Args:
        counted: the counts. `corrected.csv` is used, or the file of the only annotator.
        target: folder to copy the pictures to; their subfolders are kept.
        cells: folder to write the text files to, in the same subfolders.

    Returns:
        The number of pictures.

    Raises:
        UserError: there are several annotators and no `corrected.csv`; a picture is missing or has
            changed; no picture was checked; the disk is full.
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
        # A method's count without points gives no annotation, unless it is 0 or cells were added.
        if not changes or (picture.points is None and not len(done.added) and picture.count):
            continue
        path = picture_file(picture)
        if not path.is_file() or sha256_file(path) != picture.sha256:
            raise UserError(f"{path} is gone or has changed since it was counted; count it again.")
        points = np.concatenate([picture.places[done.kept], done.added]).astype(np.float32)
        place = _target_path(picture, root)
        with explained_writing(target / place):
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
    """Return the path of a picture when it was counted.

    Its name in the tables starts with a quote where a spreadsheet would read it as a formula.
    """
    named = Path(picture.name)
    return named if named.exists() else Path(picture.name.removeprefix("'"))


def moved_file(picture: CountedPicture, folder: Path | None) -> Path:
    """Return the path of a picture: in `folder`, or where it was counted if that is None."""
    if folder is None:
        return picture_file(picture)
    named = folder / Path(picture.name).name
    return named if named.exists() else folder / picture_file(picture).name
