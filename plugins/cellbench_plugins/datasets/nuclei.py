"""Nuclei: fluorescence images under CC0, shipped with cellbench."""

import csv
import io
from dataclasses import replace
from pathlib import Path

from cellbench.data.contracts import DataSet, RawItem, ReadPoints
from cellbench.data.points import read_point_file
from cellbench.errors import UserError
from cellbench.files.reading import read_file
from cellbench.registry import DATASETS
from cellbench_plugins.datasets._dots import candidates, converted

_GROUPS = "groups.csv"


@DATASETS.register_module(name="nuclei")
class Nuclei(DataSet):
    """Stained nuclei on a dark background, 256x256 px, 8-bit grey; a point in each nucleus.

    The images are tiles of larger fields, up to 2x2 of each. They are split by field, because a
    split by image would put neighbours of test images into training. The id of an image is its
    field and the first 16 digits of its original name.

    Source: Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science
        Bowl, Nature Methods 16, 2019; BBBC038 of the Broad Institute, CC0.
    Differs: only those stage 1 training images that have 256x256 px, a dark background and no
        colour, with masks corrected since; a point is the pixel of a mask nearest to the mask's
        centroid. The tiles of a field were identified by correlating their borders.
    """

    name = "nuclei"
    title = "Nuclei"
    summary = "fluorescence, nuclei of many sizes and brightnesses"
    images = 334
    count = (28.6, 21.3)
    parts = (70, 28, 42)
    by_group = True
    shipped = Path("shipped/nuclei")
    licence = "CC0"
    instructions = "it is shipped with cellbench."

    def scan(self, folder: Path) -> list[RawItem]:
        """List the images of images/, points/ and groups.csv (columns `image_id` and `field`).

        Raises:
            UserError: these are missing, or an image has no field.
        """
        for place in candidates(folder):
            if (place / _GROUPS).is_file():
                fields = _fields(place / _GROUPS)
                items = converted(place)
                alone = [item.image_id for item in items if item.image_id not in fields]
                if alone:
                    raise UserError(
                        f"{place / _GROUPS} has no field of {alone[0]}; add a line for each image."
                    )
                return [_of_field(item, fields[item.image_id]) for item in items]
        raise UserError(
            f"{folder} and the folders in it hold no images/, points/ and {_GROUPS}, as "
            f"{self.title} has them; name the raw copy."
        )

    def read_annotation(self, item: RawItem, *, size: tuple[int, int]) -> ReadPoints:
        """Read `x y` lines.

        Raises:
            UserError: there is no annotation, or it cannot be read.
        """
        if item.annotation is None:
            raise UserError(f"{item.image} has no annotation; put it beside the others.")
        return read_point_file(item.annotation)


def _of_field(item: RawItem, field: str) -> RawItem:
    return replace(item, image_id=f"{field}_{item.image_id}", group=field)


def _fields(path: Path) -> dict[str, str]:
    """Read the field of each image."""
    try:
        text = read_file(path, most=2**20).decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text)))
        # Padded to one length, so that they sort as numbers.
        return {row["image_id"]: row["field"].zfill(3) for row in rows}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read ({error}); it has columns image_id and field."
        ) from error
