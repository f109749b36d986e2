"""Reader of Cellpose masks in a `_seg.npy` file."""

import errno
from pathlib import Path

from cellbench.data.annotation_formats.annotation_pictures import LABELS
from cellbench.data.annotation_formats.file_annotation import FileAnnotation, explained_parsing
from cellbench.data.annotation_formats.label_masks import label_points
from cellbench.data.annotation_formats.native_pixels import MOST_PIXELS
from cellbench.data.annotation_formats.restricted_pickle import masks_in_child
from cellbench.errors import UserError
from cellbench.files.reading import read_file

PROGRAM = "Cellpose"

# The file holds the image, the masks and three flows, some 40 bytes a pixel.
_MOST_BYTES = 512 * 2**20


def read_cellpose(path: Path) -> list[FileAnnotation]:
    """Read one cell per mask.

    Raises:
        UserError: the file is not in this format, or holds anything but arrays, numbers and texts.
    """
    try:
        data = read_file(path, most=_MOST_BYTES)
    except OSError as error:
        mend = "save its masks as PNG" if error.errno == errno.EFBIG else "see its rights"
        raise UserError(f"{path} cannot be read ({error.strerror}); {mend}.") from error
    with explained_parsing(path, PROGRAM):
        masks = masks_in_child(data)
        if masks.ndim != 2 or masks.dtype.kind not in "iu" or not 0 < masks.size <= MOST_PIXELS:
            raise ValueError(f"masks of the shape {masks.shape}")
        size = (masks.shape[1], masks.shape[0])
        return [FileAnnotation(label_points(masks), size=size, notes=(LABELS,))]
