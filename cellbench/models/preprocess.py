"""Preprocessing of decoded images to a network input: stack, pad, normalise, copy to the device."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from numpy.typing import NDArray
from torch import Tensor

from cellbench.models.batch import Batch, Images

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocessor(BaseDataPreprocessor):
    """Preprocessor that stacks, pads and normalises RGB images.

    Part of the model, so that weights and preprocessing stay together. Padding is the mean colour
    (zero after normalisation), at the right and bottom.
    """

    def __init__(self, *, size_multiple: int, channels_last: bool) -> None:
        """Set the padding and the memory format.

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
        """Stack, pad and normalise arrays to a network input on the device.

        Args:
            arrays: per image (H_i, W_i, 3), uint8 in 0..255 or float32 in 0..1.
            scale: input px per px of the original image.
            image_ids: one per image.
        """
        shapes = [array.shape[:2] for array in arrays]
        height, width = (
            -(-max(edges) // self.size_multiple) * self.size_multiple
            for edges in zip(*shapes, strict=True)
        )
        device = self.mean.device
        on_device = device.type != "cpu" and all(array.dtype == np.uint8 for array in arrays)
        stack = self._stacked_on_device if on_device else self._stacked_on_host
        pixels = stack(arrays, (height, width))  # (B, H, W, 3)
        pixels = pixels.permute(0, 3, 1, 2)  # NHWC storage: already channels-last
        if not self.channels_last:
            pixels = pixels.contiguous()
        sizes = torch.tensor([[w, h] for h, w in shapes], dtype=torch.int64)
        return Images(pixels, to_device(sizes, device), scale, list(image_ids))

    def _stacked_on_host(
        self, arrays: Sequence[NDArray[np.generic]], size: tuple[int, int]
    ) -> Tensor:
        """Scale to 0..1 and pad on the host, normalise on the device."""
        # Padding holds the mean colour, which normalisation makes zero.
        stacked = np.empty((len(arrays), *size, 3), dtype=np.float32)
        stacked[:] = np.array(IMAGENET_MEAN, dtype=np.float32)
        for place, array in zip(stacked, arrays, strict=True):
            inside = place[: array.shape[0], : array.shape[1]]
            if array.dtype == np.uint8:
                np.divide(array, np.float32(255), out=inside)
            else:
                inside[:] = array
        pixels = to_device(torch.from_numpy(stacked), self.mean.device)
        return pixels.sub_(self.mean.view(3)).div_(self.std.view(3))

    def _stacked_on_device(
        self, arrays: Sequence[NDArray[np.generic]], size: tuple[int, int]
    ) -> Tensor:
        """Copy uint8, a quarter of the bytes of float32, and do the arithmetic on the device."""
        stacked = np.zeros((len(arrays), *size, 3), dtype=np.uint8)
        for place, array in zip(stacked, arrays, strict=True):
            place[: array.shape[0], : array.shape[1]] = array
        pixels = to_device(torch.from_numpy(stacked), self.mean.device).float()
        pixels.div_(255).sub_(self.mean.view(3)).div_(self.std.view(3))
        for place, array in zip(pixels, arrays, strict=True):
            if array.shape[:2] != size:  # padding is zero after normalisation
                place[array.shape[0] :] = 0
                place[:, array.shape[1] :] = 0
        return pixels

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Convert a batch of a loader to the arguments of `CellCounter.forward`.

        Args:
            data: `arrays`, `scale`, `image_ids`, and for training `points`: per image (A, 2)
                float32 arrays in px of the network input.
            training: passed by mmengine and ignored; `points` in `data` decide.
        """
        images = self.images(data["arrays"], scale=data["scale"], image_ids=data["image_ids"])
        if "points" not in data:
            return {"images": images}
        on_host = [np.asarray(p, dtype=np.float32).reshape(-1, 2) for p in data["points"]]
        # One copy for all images.
        together = to_device(torch.from_numpy(np.concatenate(on_host)), self.mean.device)
        points = list(together.split([len(points) for points in on_host]))
        return {"batch": Batch(images, points, on_host)}


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device; to a GPU from pinned memory, without waiting."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
