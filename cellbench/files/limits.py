"""Size limits for untrusted files.

Each limit is an environment variable, so that the processes of a sweep inherit it, and an option of
the commands that read such files.
"""

import os
from dataclasses import dataclass

from cellbench.errors import UserError


@dataclass(frozen=True, slots=True)
class Limit:
    """Limit in megabytes.

    Attributes:
        variable: environment variable.
        option: command-line option.
        default_mb: limit if neither is given.
        what: description of what is limited.
    """

    variable: str
    option: str
    default_mb: int
    what: str

    @property
    def size(self) -> int:
        """The limit in bytes.

        Raises:
            UserError: the variable is not a positive whole number.
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
        """Set the limit to the value of an option; None keeps it."""
        if megabytes is not None:
            os.environ[self.variable] = str(megabytes)

    @property
    def mend(self) -> str:
        """Advice on raising the limit, as the end of a sentence."""
        return f"raise {self.option} or {self.variable}"


PICTURE = Limit("CELLBENCH_MAX_PICTURE_MB", "--max-picture-mb", 960, "memory of one picture")
"""Memory that one image may take; enough for 80 million pixels of 8-bit colour, with drawing."""

FILE = Limit("CELLBENCH_MAX_FILE_MB", "--max-file-mb", 2_000, "size of one file")
"""Size of an image file, a weights file or a table."""

POINTS = Limit("CELLBENCH_MAX_POINTS_MB", "--max-points-mb", 8, "size of one point file")
"""Size of a point file, enough for some 500,000 cells."""

ANNOTATION = Limit(
    "CELLBENCH_MAX_ANNOTATION_MB", "--max-annotation-mb", 40, "size of one annotation file"
)
"""Size of an annotation file of another program, enough for some 100,000 outlines."""

SIDECAR = Limit("CELLBENCH_MAX_SIDECAR_MB", "--max-sidecar-mb", 256, "size of a record's points")
"""Size of the points file of a record, enough for some 20 million cells."""
