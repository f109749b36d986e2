"""From decoded images to what a network takes: stacked, padded, normalised, on the device."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cellbench.models.counter import Images

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocessor(BaseDataPreprocessor):
    """Stacks, pads and normalises RGB images.

    Part of the model, so that the preprocessing travels with the weights. Padding repeats
    nothing: it is the mean colour (zero after normalisation), at the right and bottom.
    """

    def __init__(self, *, size_multiple: int, channels_last: bool) -> None:
        """Remember the padding and the memory format.

        Args:
            size_multiple: px; height and width are padded up to a multiple of it.
            channels_last: lay images out as NHWC.
        """
        super().__init__()
        self.size_multiple = size_multiple
        self.channels_last = channels_last
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def images(
        self, arrays: Sequence[NDArray[np.generic]], *, scale: float, image_ids: Sequence[str]
    ) -> "Images":
        """Make a network input.

        Args:
            arrays: per image (H_i, W_i, 3), uint8 in 0..255 or float32 in 0..1.
            scale: input px per px of the original image.
            image_ids: one an image.
        """
        from cellbench.models.counter import Images

        sizes = torch.tensor([[a.shape[1], a.shape[0]] for a in arrays], dtype=torch.int64)
        width, height = (
            -(-int(side) // self.size_multiple) * self.size_multiple
            for side in sizes.max(dim=0).values
        )
        # Padding holds the mean colour, which normalisation makes zero.
        stacked = np.empty((len(arrays), height, width, 3), dtype=np.float32)
        stacked[:] = np.array(IMAGENET_MEAN, dtype=np.float32)
        for place, array in zip(stacked, arrays, strict=True):
            inside = place[: array.shape[0], : array.shape[1]]
            if array.dtype == np.uint8:
                np.divide(array, np.float32(255), out=inside)
            else:
                inside[:] = array
        device = self.mean.device
        pixels = torch.from_numpy(stacked).to(device, non_blocking=True)
        pixels.sub_(self.mean.view(3)).div_(self.std.view(3))
        pixels = pixels.permute(0, 3, 1, 2)  # NHWC storage: already channels-last
        if not self.channels_last:
            pixels = pixels.contiguous()
        return Images(pixels, sizes.to(device), scale, list(image_ids))

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Turn what a loader yields into the arguments of `CellCounter.forward`.

        Args:
            data: `arrays`, `scale`, `image_ids`, and for training `points`: per image (A, 2)
                float32 arrays in px of the network input.
            training: as mmengine passes it; the data decide.
        """
        from cellbench.models.counter import Batch

        images = self.images(data["arrays"], scale=data["scale"], image_ids=data["image_ids"])
        if "points" not in data:
            return {"images": images}
        device = self.mean.device
        points = [torch.as_tensor(p, dtype=torch.float32, device=device) for p in data["points"]]
        return {"batch": Batch(images, points)}
