"""Batches of whole images for validation, testing and prediction."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.pipeline import (
    CACHE_BYTES,
    AnnotatedImages,
    PixelCache,
    prefetch,
    read_samples,
)
from cellbench.data.resampling import resample, scaled_length
from cellbench.structures import CellSample

# Default limit of input px in a batch, small enough for a CPU's caches.
BATCH_PIXELS = 1 << 18


class WholeImages:
    """Iterable of batches of whole images at the input scale; images of a batch have one size.

    An edge has `scaled_length` px, so that every pixel of the image is used and the scale is
    exactly `input_scale`: a prediction divided by it is a point of the original image.

    Attributes:
        stored: the data set.
        ids: ids of the images.
        samples: annotations by id.
        input_scale: input px per px of the original image.
    """

    def __init__(
        self,
        stored: AnnotatedImages,
        ids: Sequence[str],
        *,
        input_scale: float = 1.0,
        batch_pixels: int = BATCH_PIXELS,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Load the annotations; images are decoded on first use.

        Args:
            stored: the data set.
            ids: image ids, at least one.
            input_scale: input px per px of the original image.
            batch_pixels: limit of input px in a batch; a larger image is a batch of its own.
            cache_bytes: memory limit for resized images.

        Raises:
            UserError: no image, or an unknown one.
        """
        self.stored = stored
        self.samples = read_samples(stored, ids, part="evaluation")
        self.ids = tuple(self.samples)
        self.input_scale = float(input_scale)
        self.batch_pixels = batch_pixels
        self._arrays = PixelCache(self._resized, cache_bytes)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], list[CellSample]]]:
        """Yield network inputs and, separately, the annotations.

        Yields:
            A dict of `arrays`, list of (h, w, 3) uint8; `scale`, float; `image_ids`, list; and
            the annotations of the same images in px of the original image. Images are in the
            order of `ids`, grouped by size.
        """
        by_size: dict[tuple[int, int], list[str]] = {}
        for image_id in self.ids:
            by_size.setdefault(self.samples[image_id].size, []).append(image_id)
        groups = []
        for (width, height), members in by_size.items():
            area = scaled_length(width, self.input_scale) * scaled_length(height, self.input_scale)
            step = max(1, self.batch_pixels // area)
            groups += [members[first : first + step] for first in range(0, len(members), step)]
        return prefetch(self._load, groups, ahead=1)

    def _load(self, image_ids: list[str]) -> tuple[dict[str, Any], list[CellSample]]:
        data = {
            "arrays": [self._arrays(image_id) for image_id in image_ids],
            "scale": self.input_scale,
            "image_ids": image_ids,
        }
        return data, [self.samples[image_id] for image_id in image_ids]

    def _resized(self, image_id: str) -> NDArray[np.generic]:
        return at_scale(self.stored.pixels(image_id), self.input_scale)


def at_scale(pixels: NDArray[np.generic], scale: float) -> NDArray[np.generic]:
    """Resize a whole image by exactly `scale`.

    Args:
        pixels: (H, W, 3) uint8 or float32.
        scale: px of the result per px of `pixels`.

    Returns:
        (scaled_length(H), scaled_length(W), 3); `pixels` itself at scale 1.
    """
    if scale == 1:
        return pixels
    height, width = (scaled_length(edge, scale) for edge in pixels.shape[:2])
    return resample(pixels, box=(0, 0, width / scale, height / scale), size=(width, height))
