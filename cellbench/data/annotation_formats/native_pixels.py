"""Stored pixel values of annotation images, without colour conversion or scaling."""

import errno
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cellbench.data.images import FORMATS
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import open_file

# Labelling a mask takes some 40 bytes a pixel.
MOST_PIXELS = 40_000_000


def read_native(path: Path) -> tuple[NDArray[np.generic], str]:
    """Read the stored values of an image.

    Args:
        path: of a file in one of `cellbench.data.images.FORMATS`, of one page.

    Returns:
        (H, W) of any integer or floating type, indices where the image has a palette, or
        (H, W, 3) uint8; and the file format. Transparent pixels are 0.

    Raises:
        UserError: the file cannot be read, is too large, or has several pages.
    """
    try:
        stream = open_file(path, most=FILE.size)
    except OSError as error:
        mend = FILE.mend if error.errno == errno.EFBIG else "see its rights"
        raise UserError(f"{path} cannot be read ({error.strerror}); {mend}.") from error
    with stream:
        try:
            image = Image.open(stream, formats=FORMATS)
            pages = int(getattr(image, "n_frames", 1))
            too_large = image.width * image.height > MOST_PIXELS
            if pages == 1 and not too_large:
                image.load()
                return _stored_values(image), image.format or ""
        except Exception as error:  # decoders raise nearly anything on hostile bytes
            reason = " ".join(str(error).split()).rstrip(".")[:100] or type(error).__name__
            raise UserError(
                f"{path} cannot be read as a picture of annotations ({reason}); save it as PNG."
            ) from error
    if pages > 1:
        raise UserError(f"{path} has {pages} pages; an annotation has one: save it as its own.")
    raise UserError(
        f"{path} has {image.width}x{image.height} px, and a picture of annotations at most "
        f"{MOST_PIXELS // 10**6} million; keep its cells as a list of points."
    )


def _stored_values(image: Image.Image) -> NDArray[np.generic]:
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("L", "P", "I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode == "LA":
        grey, alpha = np.moveaxis(np.asarray(image), 2, 0)
        return np.where(alpha > 0, grey, 0)
    if image.mode == "RGBA":
        pixels = np.array(image)
        pixels[pixels[:, :, 3] == 0] = 0
        if len(np.unique(pixels[:, :, 3])) > 1 and not pixels[:, :, :3].any():
            return pixels[:, :, 3]  # black marks on a transparent background
        return pixels[:, :, :3]
    return np.asarray(image.convert("RGB"))
