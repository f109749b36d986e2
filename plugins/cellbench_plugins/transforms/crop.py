"""Random crops at the scale of the network input."""

import math
from collections.abc import Sequence

import numpy as np

from cellbench.data.contracts import Picture, Transform
from cellbench.data.resampling import move_points, resample, scaled_length
from cellbench.errors import PartError
from cellbench.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomCrop(Transform):
    """Random square crop of the original image, scaled and cut in one resize.

    The window lies on whole pixels of the image at the drawn scale: without jitter a crop is
    exactly a part of the image that `WholeImages` yields for scoring, and at scale 1 it is copied
    and not resampled.

    Where an image is smaller than the window, the crop is smaller too; the preprocessor pads it
    with the mean colour and so knows which pixels are padding.

    Differs: the released code of P2PNet and DLA-Count scales an image first, then crops, and
    keeps the points on both edges; here one resize does both, and windows are half-open.
    """

    def __init__(
        self, *, size: int, jitter: Sequence[float] = (1.0, 1.0), input_scale: float = 1.0
    ) -> None:
        """Set the window.

        Args:
            size: edge of the window in px of the network input.
            jitter: minimum and maximum factor on the scale, drawn log-uniformly. `Picture.scale`
                holds the scale that was drawn; a batch states the nominal `input_scale`.
            input_scale: input px per px of the original image; set by the assembly.

        Raises:
            PartError: a size, scale or factor that is not positive.
        """
        if size < 1:
            raise PartError(f"RandomCrop: size is {size}; it is a whole number of at least 1 px.")
        if len(jitter) != 2 or not 0 < jitter[0] <= jitter[1] < math.inf:
            raise PartError(
                f"RandomCrop: jitter is {tuple(jitter)}; it is two positive factors, the smaller "
                "first, such as (0.8, 1.25)."
            )
        if not 0 < input_scale < math.inf:
            raise PartError(f"RandomCrop: input_scale is {input_scale}; it is a positive number.")
        self.size = size
        self.jitter = (float(jitter[0]), float(jitter[1]))
        self.input_scale = float(input_scale)

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Cut a random crop.

        Returns:
            A Picture of at most size x size px. Its `notes` hold `crop_left_px` and
            `crop_top_px`, the corner of the window in px of `picture`, and `crop_scale`.
        """
        low, high = self.jitter
        jitter = 1.0 if low == high == 1 else math.exp(rng.uniform(math.log(low), math.log(high)))
        scale = self.input_scale * jitter
        edges = [scaled_length(edge, scale) for edge in picture.size]
        width, height = (min(self.size, edge) for edge in edges)
        left = int(rng.integers(edges[0] - width, endpoint=True))
        top = int(rng.integers(edges[1] - height, endpoint=True))
        box = (left / scale, top / scale, (left + width) / scale, (top + height) / scale)
        return Picture(
            pixels=resample(picture.pixels, box=box, size=(width, height)),
            points=move_points(picture.points, box=box, size=(width, height)),
            scale=picture.scale * scale,
            notes={
                **picture.notes,
                "crop_left_px": box[0],
                "crop_top_px": box[1],
                "crop_scale": scale,
            },
        )
