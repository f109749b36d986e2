"""`DataSet` interface of a user's own set, so that it is used as published sets are."""

from pathlib import Path
from typing import ClassVar

from cellbench.data.contracts import DataSet, RawItem, ReadPoints
from cellbench.data.manifests import Manifest
from cellbench.errors import UserError

# Number of images below which the five splits are folds: each image is tested once.
CROSS_VALIDATED = 40


class OwnSet(DataSet):
    """Data set of a user's own images, described by its manifest on disk."""

    name: ClassVar[str] = ""
    folds_below = CROSS_VALIDATED
    instructions = "it is imported with `cellbench data import NAME --own --from DIR`."

    def scan(self, folder: Path) -> list[RawItem]:
        """Raise an error: a user's own images have no fixed layout.

        Raises:
            UserError: always; `plan_import` reads such images.
        """
        raise UserError(
            f"{self.name} is a set of your own pictures; `cellbench data import {self.name} --own "
            "--from DIR --force` replaces it."
        )

    def read_annotation(self, item: RawItem, *, size: tuple[int, int]) -> ReadPoints:
        """Raise an error, as `scan` does.

        Raises:
            UserError: always.
        """
        raise UserError(f"{item.image} is of a set of your own; import it with --own.")


def own_dataset(manifest: Manifest) -> DataSet:
    """Build the data set of a user's own manifest."""
    summary = ", ".join(manifest.own.formats) if manifest.own else ""
    kind = type("OwnSet", (OwnSet,), {"name": manifest.name, "title": manifest.name,
                                      "summary": summary})  # fmt: skip
    dataset: DataSet = kind()
    return dataset
