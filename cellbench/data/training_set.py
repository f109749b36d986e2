"""The training images as a stream of augmented crops that any process can join at any step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellbench.data.contracts import Picture, Transform
from cellbench.data.pipeline import (
    CACHE_BYTES,
    AnnotatedImages,
    PixelCache,
    look_ahead,
    read_samples,
)
from cellbench.data.seeds import generator
from cellbench.data.workers import by_processes
from cellbench.errors import UserError


class TrainingSet:
    """Batches of augmented crops; batch `step` depends on (seed, split, step) alone.

    The stream visits the images in a fresh order each epoch and draws `crops_per_image` crops in
    a row from each. Batch k is its crops k * batch_size to (k + 1) * batch_size - 1: every batch
    is full, and one that reaches over the end of an epoch goes on with the next.

    Attributes:
        stored: the data set.
        ids: of the training part.
        samples: the annotations by id.
        input_scale: nominal input px per px of the original image.
        crops_per_epoch: crops of one pass over all images.
        steps_per_epoch: batches that hold at least one pass over all images.
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
        """Read the annotations; images are decoded when they are first needed.

        Args:
            stored: the data set.
            ids: image ids of the training part.
            transforms: applied in this order to each image, for each crop anew.
            seed: of the run.
            split: number or name of the split.
            crops_per_image: crops in a row from one image, at least 1.
            batch_size: crops a batch, over all processes; at least 1.
            input_scale: what a batch states as its scale. A jitter of the crops is augmentation
                and isn't in it: a cell that it shows larger counts as a larger cell.
            cache_bytes: decoded images are kept in memory up to here.

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
        """The image ids in the order of an epoch."""
        rng = generator(self.seed, self.split, epoch, None)
        return [self.ids[index] for index in rng.permutation(len(self.ids))]

    def crop(self, epoch: int, image_id: str, draw: int) -> Picture:
        """One augmented crop.

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
        """The batch of a training step, or one process's share of it.

        Args:
            step: from 0, over all epochs.
            rank: of the process.
            world: number of processes; it divides `batch_size`.

        Returns:
            `arrays`: list of (h, w, 3) uint8 in 0..255 or float32 in 0..1; `points`: list of
            (A, 2) float32, (x, y) px of the network input; `scale`: float; `image_ids`: list.
        """
        first, stop = step * self.batch_size, (step + 1) * self.batch_size
        epochs = range(first // self.crops_per_epoch, (stop - 1) // self.crops_per_epoch + 1)
        # Successive batches are of the same one or two epochs.
        orders = {epoch: self._orders.get(epoch) or self.order(epoch) for epoch in epochs}
        self._orders = orders
        image_ids, pictures = [], []
        for position in range(first + rank, stop, world):
            epoch, crop = divmod(position, self.crops_per_epoch)
            place, draw = divmod(crop, self.crops_per_image)
            image_ids.append(orders[epoch][place])
            pictures.append(self.crop(epoch, image_ids[-1], draw))
        return {
            # Laid out in order, in memory that no cache shares.
            "arrays": [np.array(picture.pixels, order="C") for picture in pictures],
            "points": [picture.points for picture in pictures],
            "scale": self.input_scale,
            "image_ids": image_ids,
        }

    def batches(
        self, start: int, stop: int, *, workers: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[dict[str, Any]]:
        """The batches of steps `start` to `stop` - 1, prepared ahead of their use.

        Args:
            start: first step; where a resumed run left off.
            stop: one past the last step.
            workers: processes that prepare batches; with 0 one thread of this process does,
                which serves unless a step takes a few milliseconds. The batches are the same.
            rank: of this process among several that train together.
            world: their number.

        Raises:
            UserError: the processes cannot share a batch evenly.
        """
        if self.batch_size % world:
            raise UserError(
                f"A batch of {self.batch_size} crops cannot be shared evenly by {world} "
                f"processes; set batch_size to a multiple of {world}."
            )
        share = _Share(self, rank, world)
        steps = range(start, stop)
        if workers:
            return by_processes(share, steps, workers=workers)
        return look_ahead(share, steps)


@dataclass(frozen=True, slots=True)
class _Share:
    """One process's batches by step, as a function that can be sent to another."""

    train: TrainingSet
    rank: int
    world: int

    def __call__(self, step: int) -> dict[str, Any]:
        return self.train.batch(step, rank=self.rank, world=self.world)
