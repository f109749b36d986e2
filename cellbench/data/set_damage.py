"""Verify the files of a set on disk against its manifest."""

from dataclasses import dataclass

from cellbench.data.manifests import MANIFEST
from cellbench.data.set_writer import Progress
from cellbench.data.stored_set import StoredSet
from cellbench.files.writing import sha256_file
from cellbench.paths import PEOPLE, SET_CONFIG


@dataclass(frozen=True, slots=True, order=True)
class Damage:
    """File that differs from the manifest.

    Attributes:
        path: path relative to the set's folder.
        what: "changed", "missing" or "extra".
    """

    path: str
    what: str


def verify_set(stored: StoredSet, progress: Progress | None = None) -> list[Damage]:
    """Compare the hash of every file of a set with its manifest.

    The config and the annotators' counts of a user's own set are not hashed.

    Returns:
        The changed, missing and extra files, sorted; empty if there are none.
    """
    expected = {MANIFEST: ""}
    if stored.manifest.own is not None:
        expected[SET_CONFIG] = ""  # the user may change it
        if (stored.folder / PEOPLE).is_file():
            expected[PEOPLE] = ""
    for entry in stored.manifest.entries:
        expected[entry.image] = entry.image_sha256
        expected[entry.points] = entry.points_sha256
    damages = []
    for done, (relative, digest) in enumerate(expected.items(), start=1):
        path = stored.folder / relative
        if not path.is_file():
            damages.append(Damage(relative, "missing"))
        elif digest and sha256_file(path) != digest:
            damages.append(Damage(relative, "changed"))
        if progress is not None:
            progress(done, len(expected))
    for path in stored.folder.rglob("*"):
        relative = path.relative_to(stored.folder).as_posix()
        if relative not in expected and not path.is_dir():
            damages.append(Damage(relative, "extra"))
    return sorted(damages)
