"""Pictures of one plane that need no choice before they are read."""

import errno
from pathlib import Path

from PIL import Image

from cellbench.data.images import FORMATS
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import open_file

_ORIENTATION = 0x0112


def check_plain(path: Path) -> None:
    """Refuse a picture of several pages, or one that viewers turn.

    Raises:
        UserError: it is one of these, or cannot be read.
    """
    try:
        with open_file(path, most=FILE.size) as stream:
            image = Image.open(stream, formats=FORMATS)
            pages, turned = int(getattr(image, "n_frames", 1)), image.getexif().get(_ORIENTATION, 1)
    except OSError as error:
        mend = FILE.mend if error.errno == errno.EFBIG else "save it as PNG or TIFF"
        reason = error.strerror or "it is damaged or no picture"
        raise UserError(f"{path} cannot be read ({reason}); {mend}.") from error
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        raise UserError(f"{path} is damaged or no picture; save it as PNG or TIFF.") from error
    if pages > 1:
        raise UserError(
            f"{path} has {pages} pages (planes, channels or times); save the one whose cells are "
            "annotated as a picture of its own."
        )
    if turned not in (0, 1):
        raise UserError(
            f"{path} is stored turned (EXIF orientation {turned}), and its annotation may be of "
            "either way up; save it upright and annotate that."
        )
