"""One-channel views of a colour image: luminance, saturation, haematoxylin."""

import numpy as np
from numpy.typing import NDArray

from cellbench_plugins._ops.optional import import_optional

VIEWS = ("luminance", "saturation", "haematoxylin")


def view(pixels: NDArray[np.floating], name: str, *, by: str) -> NDArray[np.float32]:
    """Compute one view of an image.

    Source: luminance and saturation (HSV) as scikit-image computes them; haematoxylin by colour
        deconvolution with the stain vectors of Ruifrok and Johnston, 2001.

    Args:
        pixels: (H, W, 3) float RGB in [0, 1].
        name: one of `VIEWS`.
        by: name of the calling part, for the message where scikit-image is missing.

    Returns:
        (H, W) float32. The first two lie in [0, 1]; haematoxylin is an optical density, 0 without
        stain.
    """
    color = import_optional("skimage.color", package="scikit-image", by=by)
    clipped = np.clip(pixels, 0.0, 1.0).astype(np.float32)
    if name == "luminance":
        plane = color.rgb2gray(clipped)
    elif name == "saturation":
        plane = color.rgb2hsv(clipped)[..., 1]
    else:
        plane = color.rgb2hed(clipped)[..., 0]
    return np.ascontiguousarray(plane, dtype=np.float32)
