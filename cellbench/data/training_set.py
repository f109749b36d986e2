"""Reproducible stream of augmented training crops, which any process can enter at any step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellbench.data.contracts import Picture, Transform
from cellbench.data.pipeline import (
    CACHE_BYTES,
    AnnotatedImages,
    PixelCache,
    prefetch,
    read_samples,
)
from cellbench.data.seeds import generator
from cellbench.data.workers import prefetch_in_processes
from cellbench.errors import UserError


class TrainingSet:
    """Batches of augmented crops; batch `step` depends on (seed, split, step) alone.

    The images are shuffled each epoch, and `crops_per_image` crops in a row are drawn from each.
    Batch k is crops k * batch_size to (k + 1) * batch_size - 1 of this stream: every batch is full,
    and one that crosses the end of an epoch continues with the next.

    Attributes:
        stored: the data set.
        ids: image ids of the training part.
        samples: annotations by id.
        input_scale: nominal input px per px of the original image.
        crops_per_epoch: number of crops of one pass over all images.
        steps_per_epoch: number of batches that cover one pass over all images.
    """

    def __init__(
        self,
        stored: AnnotatedImages,
        ids: Sequence[str],
        *,
        transforms: Sequence[Transform],
        seed: int,
        split: int | str,
        crops_per_image: int,
        batch_size: int,
        input_scale: float = 1.0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Load the annotations; images are decoded on first use.

        Args:
            stored: the data set.
            ids: image ids of the training part.
            transforms: applied in this order to the image, separately for each crop.
            seed: seed of the run.
            split: number or name of the split.
            crops_per_image: crops in a row from one image, at least 1.
            batch_size: crops per batch, over all processes; at least 1.
            input_scale: scale that batches report. It excludes scale jitter, which is augmentation:
                an enlarged cell counts as a larger cell.
            cache_bytes: memory limit for decoded images.

        Raises:
            UserError: no image, an unknown one, or a number below 1.
        """
        for name, value in (("crops_per_image", crops_per_image), ("batch_size", batch_size)):
            if value < 1:
                raise UserError(f"{name} is {value}; it is a whole number of at least 1.")
        self.stored = stored
        self.samples = read_samples(stored, ids, part="training")
        self.ids = tuple(self.samples)
        self.transforms = tuple(transforms)
        self.seed = seed
        self.split = split
        self.crops_per_image = crops_per_image
        self.batch_size = batch_size
        self.crops_per_epoch = len(self.ids) * crops_per_image
        self.steps_per_epoch = -(-self.crops_per_epoch // batch_size)
        self.input_scale = float(input_scale)
        self._pixels = PixelCache(stored.pixels, cache_bytes)
        self._orders: dict[int, list[str]] = {}

    def order(self, epoch: int) -> list[str]:
        """Return the image ids in the order of an epoch."""
        rng = generator(self.seed, self.split, epoch, None)
        return [self.ids[index] for index in rng.permutation(len(self.ids))]

    def crop(self, epoch: int, image_id: str, draw: int) -> Picture:
        """Return one augmented crop.

        Args:
            epoch: pass over the images, from 0.
            image_id: one of `ids`.
            draw: 0 to `crops_per_image` - 1.
        """
        picture = Picture(self._pixels(image_id), self.samples[image_id].points)
        rng = generator(self.seed, self.split, epoch, image_id, draw)
        for transform in self.transforms:
            picture = transform(picture, rng)
        return picture

    def batch(self, step: int, *, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """Return the batch of a training step, or one process's share of it.

        Args:
            step: training step from 0, over all epochs.
            rank: rank of the process.
            world: number of processes; it divides `batch_size`.

        Returns:
            `arrays`: list of (h, w, 3) uint8 in 0..255 or float32 in 0..1; `points`: list of
            (A, 2) float32, (x, y) px of the network input; `scale`: float; `image_ids`: list.
        """
        first, stop = step * self.batch_size, (step + 1) * self.batch_size
        epochs = range(first // self.crops_per_epoch, (stop - 1) // self.crops_per_epoch + 1)
        # Only the orders of this batch's epochs are kept: successive batches mostly share them.
        orders = {epoch: self._orders.get(epoch) or self.order(epoch) for epoch in epochs}
        self._orders = orders
        image_ids, pictures = [], []
        for position in range(first + rank, stop, world):
            epoch, crop = divmod(position, self.crops_per_epoch)
            place, draw = divmod(crop, self.crops_per_image)
            image_ids.append(orders[epoch][place])
            pictures.append(self.crop(epoch, image_ids[-1], draw))
        return {
            # Contiguous copies that share no memory with the cache.
            "arrays": [np.array(picture.pixels, order="C") for picture in pictures],
            "points": [picture.points for picture in pictures],
            "scale": self.input_scale,
            "image_ids": image_ids,
        }

    def batches(
        self, start: int, stop: int, *, workers: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[dict[str, Any]]:
        """Return an iterator over the batches of steps `start` to `stop` - 1, prepared ahead.

        Args:
            start: first step, at which a resumed run continues.
            stop: one past the last step.
            workers: number of processes that prepare batches; 0 uses one thread, which is enough
                unless a step takes only a few milliseconds. The batches are the same.
            rank: rank of this process in distributed training.
            world: number of processes in distributed training.

        Raises:
            UserError: `world` does not divide the batch size.
        """
        if self.batch_size % world:
            raise UserError(
                f"A batch of {self.batch_size} crops cannot be shared evenly by {world} "
                f"processes; set batch_size to a multiple of {world}."
            )
        share = _BatchShare(self, rank, world)
        steps = range(start, stop)
        if workers:
            return prefetch_in_processes(share, steps, workers=workers)
        return prefetch(share, steps)


@dataclass(frozen=True, slots=True)
class _BatchShare:
    """Picklable function from step to this process's share of the batch."""

    train: TrainingSet
    rank: int
    world: int

    def __call__(self, step: int) -> dict[str, Any]:
        return self.train.batch(step, rank=self.rank, world=self.world)
