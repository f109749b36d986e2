"""The data set that a set of one's own is, as the machinery of published sets takes it."""

from pathlib import Path
from typing import ClassVar

from cellbench.data.contracts import DataSet, RawItem, ReadPoints
from cellbench.data.manifests import Manifest
from cellbench.errors import UserError

# Below so many images every one is tested once, over the five splits.
CROSS_VALIDATED = 40


class OwnSet(DataSet):
    """Pictures of the user's own; what it is follows from the manifest of what is on disk."""

    name: ClassVar[str] = ""
    folds_below = CROSS_VALIDATED
    instructions = "it is imported with `cellbench data import NAME --own --from DIR`."

    def scan(self, folder: Path) -> list[RawItem]:
        """Own pictures have no layout of their own.

        Raises:
            UserError: always; `understand_folder` reads them.
        """
        raise UserError(
            f"{self.name} is a set of your own pictures; `cellbench data import {self.name} --own "
            "--from DIR --force` replaces it."
        )

    def read_annotation(self, item: RawItem, *, size: tuple[int, int]) -> ReadPoints:
        """As `scan`.

        Raises:
            UserError: always.
        """
        raise UserError(f"{item.image} is of a set of your own; import it with --own.")


def own_dataset(manifest: Manifest) -> DataSet:
    """The data set of a manifest of own pictures."""
    summary = ", ".join(manifest.own.formats) if manifest.own else ""
    kind = type("OwnSet", (OwnSet,), {"name": manifest.name, "title": manifest.name,
                                      "summary": summary})  # fmt: skip
    dataset: DataSet = kind()
    return dataset
