"""Inputs of a counter: normalised images, alone or with their annotations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(slots=True)
class Images:
    """Normalised images, ready for a network, without their annotations.

    Attributes:
        pixels: (B, 3, H, W) float32, padded at the right and bottom.
        sizes: (B, 2) int64, (width, height) in px of the network input without the padding.
        scale: input px per px of the original image.
        image_ids: one per image.
    """

    pixels: Tensor
    sizes: Tensor
    scale: float
    image_ids: list[str]

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(slots=True)
class Batch:
    """Images with their annotated points.

    Attributes:
        images: the network's input.
        points: per image (A_i, 2) float32, (x, y) in px of the network input.
        on_host: the same points as arrays, if they came from the host; see `host_points`.
    """

    images: Images
    points: list[Tensor]
    on_host: list[NDArray[np.float32]] | None = None

    @property
    def host_points(self) -> list[NDArray[np.float32]]:
        """Points as arrays, without waiting for a GPU if they came from the host."""
        return [p.numpy(force=True) for p in self.points] if self.on_host is None else self.on_host
