"""Logs of an annotator's corrections to a count: `corrected.csv` beside the method's points.

One row per change: the picture, the place, whether a cell was added or removed there, the time, and
the SHA-256 of the picture's file, so that the change is not applied to another picture of the same
name. The method's tables are not modified. Rows with the same time are one action; undo removes the
last action. The corrected cells are the method's points with all changes applied. The whole file is
written before a change is shown, so that a crash loses nothing that was on the screen.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.counting.moved_pictures import moved_names
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import read_file
from cellbench.files.writing import write_atomically

CORRECTED = "corrected.csv"
HEAD = ("image", "x_px", "y_px", "change", "when", "sha256")
_OLDER_HEAD = HEAD[:-1]
ADDED, REMOVED, CHECKED = "added", "removed", "checked"

_ANNOTATOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_MOST_CHANGES = 2_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """One row of a log: a cell that was added or removed, or a picture that was checked.

    Attributes:
        image: name of the picture in `counts.csv`.
        x: px, to 1e-4; 0 for CHECKED.
        y: px, likewise.
        kind: ADDED, REMOVED or CHECKED.
        when: ISO 8601, UTC.
        sha256: hash of the picture's file; empty in files of earlier versions.
    """

    image: str
    x: float
    y: float
    kind: str
    when: str
    sha256: str = ""


@dataclass(frozen=True)
class CorrectedPicture:
    """Cells of a picture after corrections.

    Attributes:
        kept: (N,) bool, True for each of the method's points that was not removed.
        added: (M, 2), (x, y) px.
        checked: whether the picture was marked as checked, or changed.
    """

    kept: NDArray[np.bool_]
    added: NDArray[np.float64]
    checked: bool

    @property
    def count(self) -> int:
        """Number of cells: points kept and cells added."""
        return int(self.kept.sum()) + len(self.added)


@dataclass
class CorrectionLog:
    """Changes of one annotator in one folder, written to disk before they are kept in memory.

    Attributes:
        file: path of the log.
        changes: by picture, in the order in which they were made.
    """

    file: Path
    changes: dict[str, list[Change]] = field(default_factory=dict)

    @classmethod
    def open(
        cls, folder: Path, annotator: str = "", pictures: Iterable[tuple[str, str]] = ()
    ) -> "CorrectionLog":
        """Read the changes of an annotator; an empty log if there is no file yet.

        Args:
            folder: the counted folder.
            annotator: name in the file's name, such as "anna" for corrected-anna.csv; "" for
                corrected.csv.
            pictures: name and SHA-256 of each counted picture. The changes of a picture that was
                moved are assigned to its new name, also if another picture has its old name now.

        Raises:
            UserError: the name is invalid, or the file is damaged.
        """
        file = folder / log_name(annotator)
        log = cls(file)
        for change in read_changes(file) if file.exists() else ():
            log.changes.setdefault(change.image, []).append(change)
        log._rename_moved(dict(pictures))
        return log

    def _rename_moved(self, hashes: Mapping[str, str]) -> None:
        """Assign the changes of pictures that were renamed or moved to their new names."""
        known = {
            (name, c.sha256) for name, logged in self.changes.items() for c in logged if c.sha256
        }
        astray = [(name, sha256) for name, sha256 in sorted(known) if hashes.get(name) != sha256]
        fresh = [pair for pair in hashes.items() if pair not in known]
        moved = moved_names(astray, fresh, stayed=lambda name: False)
        changes: dict[str, list[Change]] = {}
        for name, logged in self.changes.items():
            # Rows of earlier versions have no hash: they follow the other rows of a missing name.
            usual = {new for (old, _), new in moved.items() if old == name and name not in hashes}
            for change in logged:
                new = moved.get((name, change.sha256), name)
                if not change.sha256 and len(usual) == 1:
                    (new,) = usual
                changes.setdefault(new, []).append(replace(change, image=new))
        self.changes = {
            name: sorted(logged, key=lambda change: change.when) for name, logged in changes.items()
        }

    def of(self, image: str, sha256: str) -> list[Change]:
        """Return the changes of a picture; those of another file of the same name are left out."""
        return [c for c in self.changes.get(image, ()) if c.sha256 in ("", sha256)]

    def add(
        self, image: str, changes: Iterable[tuple[str, float, float]], sha256: str = ""
    ) -> None:
        """Append one action: all its changes get the same time.

        Args:
            image: name of the picture.
            changes: kind, x and y of each; empty for no action.
            sha256: hash of the picture's file.

        Raises:
            UserError: the disk is full or not writable; nothing is then changed.
        """
        when = self._now()
        new = [
            Change(image, round(x, 4), round(y, 4), kind, when, sha256) for kind, x, y in changes
        ]
        if new:
            self._replace(image, [*self.changes.get(image, ()), *new])

    def undo(self, image: str, sha256: str = "") -> bool:
        """Remove the last action on a picture; return False if there is none.

        Args:
            image: name of the picture.
            sha256: hash of its file.

        Raises:
            UserError: the disk is not writable; nothing is then changed.
        """
        current = self.of(image, sha256)
        if not current:
            return False
        every = self.changes[image]
        self._replace(image, [change for change in every if change.when != current[-1].when])
        return True

    def _replace(self, image: str, changes: list[Change]) -> None:
        wanted = {**self.changes, image: changes}
        lines = [change for logged in wanted.values() for change in logged]
        lines.sort(key=lambda change: change.when)
        write_atomically(self.file, _text(lines), elsewhere="--out of count")
        self.changes = wanted

    def _now(self) -> str:
        """Return the current time, or just after the last change if the clock is behind it."""
        now = datetime.now(UTC)
        last = max((logged[-1].when for logged in self.changes.values() if logged), default="")
        if last and now.isoformat(timespec="microseconds") <= last:
            now = datetime.fromisoformat(last) + timedelta(microseconds=1)
        return now.isoformat(timespec="microseconds")


def log_name(annotator: str) -> str:
    """Return the file name of an annotator's log.

    Raises:
        UserError: the name is not up to 40 letters, digits, dashes and underscores.
    """
    if not annotator:
        return CORRECTED
    if not _ANNOTATOR.fullmatch(annotator):
        raise UserError(
            f"{annotator!r} is no name of an annotator; it takes up to 40 letters, digits, dashes "
            "and underscores."
        )
    return f"corrected-{annotator}.csv"


def annotators_of(folder: Path) -> list[str]:
    """List the annotators with a log in a folder; "" for corrected.csv."""
    found = [path.stem for path in folder.glob("corrected*.csv")]
    names = [stem.removeprefix("corrected").removeprefix("-") for stem in found]
    return sorted(name for name in names if not name or _ANNOTATOR.fullmatch(name))


def read_changes(path: Path) -> list[Change]:
    """Read the changes of a log.

    Raises:
        UserError: it cannot be read, or a line is invalid.
    """
    try:
        rows = list(csv.reader(io.StringIO(read_file(path, most=FILE.size).decode("utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path} cannot be read ({reason}).") from error
    head = tuple(rows[0]) if rows else ()
    if head not in (HEAD, _OLDER_HEAD) or len(rows) > _MOST_CHANGES:
        raise UserError(f"{path} has to have the columns {', '.join(HEAD)}; move it away.")
    found = []
    for number, row in enumerate(rows[1:], start=2):
        try:
            image, x, y, kind, when, sha256 = row if head == HEAD else (*row, "")
            if kind not in (ADDED, REMOVED, CHECKED):
                raise ValueError(f"{kind[:20]!r} is no change")
            moment = datetime.fromisoformat(when)
            if moment.tzinfo is None:
                raise ValueError(f"{when[:40]!r} has no time zone")
            place = (0.0, 0.0) if kind == CHECKED else (float(x), float(y))
            if not np.isfinite(place).all():
                raise ValueError("its place is not finite")
        except ValueError as error:
            raise UserError(f"Line {number} of {path} is no change ({error}).") from error
        found.append(Change(image, *place, kind, when, sha256))
    return found


def apply_changes(points: NDArray[Any], changes: Sequence[Change]) -> CorrectedPicture:
    """Apply changes to the method's points of a picture.

    Args:
        points: (N, 2) of the method.
        changes: those of this picture, in order. The removal of a point that does not exist (since
            the picture was counted again) has no effect.
    """
    kept = np.ones(len(points), dtype=bool)
    if not changes:
        return CorrectedPicture(kept, np.zeros((0, 2)), checked=False)
    places: dict[tuple[float, float], list[int]] = {}
    rounded = np.round(np.asarray(points, dtype=np.float64), 4)
    for index, (x, y) in enumerate(rounded.tolist()):
        places.setdefault((x, y), []).append(index)
    added: list[tuple[float, float]] = []
    for change in changes:
        place = (change.x, change.y)
        if change.kind == ADDED:
            added.append(place)
        elif change.kind == REMOVED and place in added:
            added.remove(place)
        elif change.kind == REMOVED and places.get(place):
            kept[places[place].pop()] = False
    return CorrectedPicture(kept, np.array(added, dtype=np.float64).reshape(-1, 2), bool(changes))


def _text(changes: Sequence[Change]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEAD)
    for change in changes:
        place = ("", "") if change.kind == CHECKED else (f"{change.x:.4f}", f"{change.y:.4f}")
        writer.writerow((change.image, *place, change.kind, change.when, change.sha256))
    return stream.getvalue().encode("utf-8")
