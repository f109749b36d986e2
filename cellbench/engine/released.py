"""Augmented crops of the training images, which the released DLA-Count code is scored on."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from cellbench.data.training_set import TrainingSet
from cellbench.structures import CellSample


class ReleasedProtocolCrops:
    """Validation or test part of the first crop of each training image.

    Kept to measure how far such a score is from one on whole held-out images; never ranked.

    Source: methods.md, section 18, row 1.
    Differs: the crops are those of epoch 0 each time, so that a score can be repeated.
    Their sizes, scales and turns are those of the set's recipe: on split 0 they hold 27 (ADI), 12
    (MBM) and 11 (VGG) cells, the released code's, of 64, 128 and 128 px, some 28, 6 and 44. The
    threshold is chosen on them, where the released one is 0.5.
    """

    def __init__(self, train: TrainingSet) -> None:
        """Use the crops of a training set."""
        self.train = train

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.train.ids)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], list[CellSample]]]:
        """Yield crops and their cells, in px of the original image from the crop's corner."""
        scale = self.train.input_scale
        step = self.train.batch_size
        for first in range(0, len(self.train.ids), step):
            image_ids = self.train.ids[first : first + step]
            crops = [self.train.crop(0, image_id, 0) for image_id in image_ids]
            samples = [
                CellSample(
                    image_id,
                    (crop.points / scale).astype(np.float32),
                    (round(crop.size[0] / scale), round(crop.size[1] / scale)),
                )
                for image_id, crop in zip(image_ids, crops, strict=True)
            ]
            arrays = [crop.pixels for crop in crops]
            yield {"arrays": arrays, "scale": scale, "image_ids": list(image_ids)}, samples
