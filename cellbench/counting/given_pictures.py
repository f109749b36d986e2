"""Pictures of a count request: their names in the tables, files and hashes."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from cellbench.counting.count_request import CountRequest
from cellbench.counting.count_rows import shown_name
from cellbench.counting.picture_list import Skipped, list_pictures
from cellbench.counting.unpacked_stacks import PLANES, UnpackedPlane, unpack_stack
from cellbench.data.large import OpenedPicture
from cellbench.data.reader import ReadOptions
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.writing import sha256_file


@dataclass(frozen=True, slots=True)
class GivenPictures:
    """Pictures of a request.

    Attributes:
        files: paths by name in the tables.
        below: text that a group pattern is searched in, by name.
        hashes: SHA-256 of the readable ones, by name.
        skipped: files that are not counted, most of them no pictures.
        refused: a sentence for each picture that cannot be counted, by name; extended while
            pictures are counted.
        reading: options with which `files` are read.
        planes: unpacked planes of stacks, by name.
        stacks: path of the stack of each of these planes, by name.
    """

    files: dict[str, Path]
    below: dict[str, str]
    hashes: dict[str, str]
    skipped: Sequence[Skipped]
    refused: dict[str, str]
    reading: ReadOptions
    planes: dict[str, UnpackedPlane]
    stacks: dict[str, Path]

    def as_stated(self, name: str, picture: OpenedPicture) -> OpenedPicture:
        """Return a picture with the notes and pixel size of its stack; others unchanged."""
        plane = self.planes.get(name)
        if plane is None:
            return picture
        notes = (f"plane of {shown_name(self.stacks[name])}", *plane.notes, *picture.notes)
        return replace(picture, notes=notes, pixel_size_um=plane.pixel_size_um)


def given_pictures(request: CountRequest) -> GivenPictures:
    """List the pictures under unique names, and hash them.

    Raises:
        UserError: there is no picture, or two would have the same name.
    """
    listed = list_pictures(request.pictures, recursive=request.recursive, without=request.out)
    files = {shown_name(path): path for path in listed.pictures}
    if len(files) < len(set(listed.pictures)):
        twice = next(p for p in listed.pictures if files[shown_name(p)] != p)
        raise UserError(
            f"Two pictures are called {shown_name(twice)!r} but for signs that tables cannot have; "
            "rename one of them."
        )
    below = {shown_name(path): inside for path, inside in listed.below.items()}
    given = GivenPictures(files, below, {}, listed.skipped, {}, request.reading, {}, {})
    for name, path in files.items():
        try:
            given.hashes[name] = sha256_file(path)
        except OSError as error:
            remedy = FILE.mend if error.errno == errno.EFBIG else "see its rights"
            given.refused[name] = f"{name} cannot be opened ({error.strerror}); {remedy}."
    return given


def unpacked(
    given: GivenPictures, reading: ReadOptions, out: Path, display: Display
) -> GivenPictures:
    """Replace stacks by their planes, which are written to `planes/` in `out` (`--page all`).

    Args:
        given: result of `given_pictures`; `selects_every_plane` is true of its choice of planes.
        reading: options with which the planes are read.
        out: folder of the tables.
        display: where progress is shown.

    Returns:
        The planes and other pictures. A stack that cannot be read, or whose planes cannot be
        written, is in `refused`; a copy of another stack, of the same name, is in `skipped`.
    """
    choice = given.reading.planes
    skipped = [*given.skipped]
    found = GivenPictures({}, {}, {}, skipped, given.refused, reading, {}, {})
    with display.task("unpacking stacks", len(given.hashes)) as advance:
        for name, path in given.files.items():
            if name not in given.hashes:
                found.files[name] = path
                continue
            try:
                planes = unpack_stack(path, given.hashes[name], choice, out / PLANES, advance)
            except UserError as error:
                found.files[name] = path
                given.refused[name] = str(error)
                continue
            if not planes:
                advance(1)
                found.files[name] = path
                found.below[name] = given.below[name]
                found.hashes[name] = given.hashes[name]
            if planes and (first := found.stacks.get(shown_name(planes[0].file))):
                same = f"it is a copy of {first}, whose planes are counted"
                skipped.append(Skipped(path, same, picture=False))
                continue
            for plane in planes:
                own = shown_name(plane.file)
                stack = PurePosixPath(given.below[name])
                label = "_".join(filter(None, (stack.stem, plane.label)))
                found.files[own] = plane.file
                found.below[own] = str(stack.with_name(f"{label}{plane.file.suffix}"))
                found.hashes[own] = sha256_file(plane.file)
                found.planes[own] = plane
                found.stacks[own] = path
    return found
