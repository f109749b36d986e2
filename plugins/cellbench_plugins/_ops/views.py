"""One-channel views of a colour image in which cells may stand out."""

import numpy as np
from numpy.typing import NDArray

from cellbench_plugins._ops.optional import need

VIEWS = ("luminance", "saturation", "haematoxylin")


def views(pixels: NDArray[np.floating], *, by: str) -> NDArray[np.float32]:
    """Luminance, saturation and haematoxylin of an image.

    Source: luminance and saturation (HSV) as scikit-image computes them; haematoxylin by colour
        deconvolution with the stain vectors of Ruifrok and Johnston, 2001.

    Args:
        pixels: (H, W, 3) float RGB in [0, 1].
        by: the part that asks, for the message where scikit-image is missing.

    Returns:
        (3, H, W) float32 in the order of `VIEWS`. The first two lie in [0, 1]; haematoxylin is an
        optical density, 0 where there is none.
    """
    color = need("skimage.color", package="scikit-image", by=by)
    clipped = np.clip(pixels, 0.0, 1.0).astype(np.float32)
    return np.stack(
        [
            color.rgb2gray(clipped),
            color.rgb2hsv(clipped)[..., 1],
            color.rgb2hed(clipped)[..., 0],
        ]
    ).astype(np.float32)
