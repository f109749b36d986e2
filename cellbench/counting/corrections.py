"""What people have changed in a count: `corrected.csv` beside the method's points.

A line a change: the picture, the place, whether a cell was added there or one taken away, when, and
the SHA-256 of the picture's file: changes of a picture do not hold for another one of its name.
The method's tables stay as they are. Lines of one moment were one action, and undoing takes the
last one away; what is left after the last line is the corrected count. The file is written as a
whole before anything is shown, so that nothing that was shown is lost with the process.
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
    """One line: a cell that was added or taken away, or a picture that was looked through.

    Attributes:
        image: name of the picture in `counts.csv`.
        x: px, to 1e-4; 0 for a picture that was checked.
        y: px.
        kind: ADDED, REMOVED or CHECKED.
        when: ISO 8601, UTC.
        sha256: of the picture's file; empty in files of earlier versions.
    """

    image: str
    x: float
    y: float
    kind: str
    when: str
    sha256: str = ""


@dataclass(frozen=True)
class CorrectedPicture:
    """What is left of a picture's cells, and what was added.

    Attributes:
        kept: (N,) bool, of the method's points.
        added: (M, 2), (x, y) px.
        checked: whether somebody has looked through the picture, or changed something in it.
    """

    kept: NDArray[np.bool_]
    added: NDArray[np.float64]
    checked: bool

    @property
    def count(self) -> int:
        """Cells."""
        return int(self.kept.sum()) + len(self.added)


@dataclass
class CorrectionLog:
    """The changes of one person in one folder, on disk before they are in memory.

    Attributes:
        file: that holds them.
        changes: by picture, in the order in which they were made.
    """

    file: Path
    changes: dict[str, list[Change]] = field(default_factory=dict)

    @classmethod
    def open(
        cls, folder: Path, annotator: str = "", pictures: Iterable[tuple[str, str]] = ()
    ) -> "CorrectionLog":
        """Read the changes of a person; none where there is no file yet.

        Args:
            folder: that was counted.
            annotator: name of several people's files, such as "anna" for corrected-anna.csv.
            pictures: name and SHA-256 of each that is counted: one that was moved takes the changes
                of its old name along, also where another picture has that name now.

        Raises:
            UserError: the name cannot be one, or the file is damaged.
        """
        file = folder / log_name(annotator)
        log = cls(file)
        for change in read_changes(file) if file.exists() else ():
            log.changes.setdefault(change.image, []).append(change)
        log._follow(dict(pictures))
        return log

    def _follow(self, hashes: Mapping[str, str]) -> None:
        """Give the changes of pictures that have other names now to these names."""
        known = {(name, c.sha256) for name, own in self.changes.items() for c in own if c.sha256}
        astray = [(name, sha256) for name, sha256 in sorted(known) if hashes.get(name) != sha256]
        fresh = [pair for pair in hashes.items() if pair not in known]
        moved = moved_names(astray, fresh, stayed=lambda name: False)
        changes: dict[str, list[Change]] = {}
        for name, own in self.changes.items():
            # Lines of earlier versions have no hash: they go with the others of a gone name.
            usual = {new for (old, _), new in moved.items() if old == name and name not in hashes}
            for change in own:
                new = moved.get((name, change.sha256), name)
                if not change.sha256 and len(usual) == 1:
                    (new,) = usual
                changes.setdefault(new, []).append(replace(change, image=new))
        self.changes = {
            name: sorted(own, key=lambda change: change.when) for name, own in changes.items()
        }

    def of(self, image: str, sha256: str) -> list[Change]:
        """The changes of a picture as it is: those of another file of its name do not count."""
        return [c for c in self.changes.get(image, ()) if c.sha256 in ("", sha256)]

    def add(
        self, image: str, changes: Iterable[tuple[str, float, float]], sha256: str = ""
    ) -> None:
        """Keep one action: all its changes have one moment.

        Args:
            image: name of the picture.
            changes: kind, x and y of each; none is no action.
            sha256: of its file.

        Raises:
            UserError: the disk is full or cannot be written; nothing is then changed.
        """
        when = self._now()
        new = [
            Change(image, round(x, 4), round(y, 4), kind, when, sha256) for kind, x, y in changes
        ]
        if new:
            self._replace(image, [*self.changes.get(image, ()), *new])

    def undo(self, image: str, sha256: str = "") -> bool:
        """Take the last action on a picture away; False where there is none.

        Args:
            image: name of the picture.
            sha256: of its file.

        Raises:
            UserError: the disk cannot be written; nothing is then changed.
        """
        own = self.of(image, sha256)
        if not own:
            return False
        all_of = self.changes[image]
        self._replace(image, [change for change in all_of if change.when != own[-1].when])
        return True

    def _replace(self, image: str, changes: list[Change]) -> None:
        wanted = {**self.changes, image: changes}
        lines = [change for own in wanted.values() for change in own]
        lines.sort(key=lambda change: change.when)
        write_atomically(self.file, _text(lines), elsewhere="--out of count")
        self.changes = wanted

    def _now(self) -> str:
        """This moment, later than that of every change before."""
        now = datetime.now(UTC)
        last = max((own[-1].when for own in self.changes.values() if own), default="")
        if last and now.isoformat(timespec="microseconds") <= last:
            now = datetime.fromisoformat(last) + timedelta(microseconds=1)
        return now.isoformat(timespec="microseconds")


def log_name(annotator: str) -> str:
    """The file of a person's changes.

    Raises:
        UserError: the name is not made of letters, digits, dashes and underscores.
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
    """The names of those who have changed something in a folder; "" for corrected.csv."""
    found = [path.stem for path in folder.glob("corrected*.csv")]
    names = [stem.removeprefix("corrected").removeprefix("-") for stem in found]
    return sorted(name for name in names if not name or _ANNOTATOR.fullmatch(name))


def read_changes(path: Path) -> list[Change]:
    """The lines of a file of changes.

    Raises:
        UserError: it cannot be read, or a line is not what it should be.
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
    """The cells of a picture after a person's changes.

    Args:
        points: (N, 2) of the method.
        changes: of this picture, in order. One that takes away a place that is not there (the
            picture was counted anew) changes nothing.
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
