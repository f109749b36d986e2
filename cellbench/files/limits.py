"""How much a file from outside may take, and how a user raises it.

Each limit is an environment variable, so that it reaches the processes of a sweep, and an option
of the commands that read such files.
"""

import os
from dataclasses import dataclass

from cellbench.errors import UserError


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit in megabytes.

    Attributes:
        variable: of the environment.
        option: of the commands.
        default_mb: where neither is given.
        what: for people.
    """

    variable: str
    option: str
    default_mb: int
    what: str

    @property
    def size(self) -> int:
        """The limit in bytes.

        Raises:
            UserError: the variable is no number of megabytes.
        """
        text = os.environ.get(self.variable)
        if not text:
            return self.default_mb * 1_000_000
        if not (text.isascii() and text.isdecimal() and 0 < len(text) <= 9 and int(text) > 0):
            raise UserError(
                f"{self.variable} is {text[:40]!r}; it takes a whole number of megabytes, such as "
                f"{self.default_mb}."
            )
        return int(text) * 1_000_000

    def set(self, megabytes: int | None) -> None:
        """Take over what an option gave; None leaves the limit as it is."""
        if megabytes is not None:
            os.environ[self.variable] = str(megabytes)

    @property
    def mend(self) -> str:
        """How to raise it, as the end of a sentence."""
        return f"raise {self.option} or {self.variable}"


PICTURE = Limit("CELLBENCH_MAX_PICTURE_MB", "--max-picture-mb", 960, "memory of one picture")
"""Memory that one picture may take; 80 million pixels of 8-bit colour, drawing included."""

FILE = Limit("CELLBENCH_MAX_FILE_MB", "--max-file-mb", 2_000, "size of one file")
"""Size of a file of a picture, of weights, or of a table."""

POINTS = Limit("CELLBENCH_MAX_POINTS_MB", "--max-points-mb", 8, "size of one point file")
"""Size of a point file: some 500,000 cells."""

ANNOTATION = Limit(
    "CELLBENCH_MAX_ANNOTATION_MB", "--max-annotation-mb", 40, "size of one annotation file"
)
"""Size of an annotation file of another program: some 100,000 outlines."""

SIDECAR = Limit("CELLBENCH_MAX_SIDECAR_MB", "--max-sidecar-mb", 256, "size of a record's points")
"""Size of the points beside a record: some 20 million cells."""
