"""A trained method at work: cells in pictures that nobody annotated."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cellbench.config.compose import ResolvedConfig
from cellbench.config.part_options import check_foreign_parts
from cellbench.counting.tiles import Tile, part_of_sum, release_freed_memory, tiles
from cellbench.data.contracts import Picture, Transform
from cellbench.data.pipeline import prepared_pixels
from cellbench.data.resampling import resample, scaled_length
from cellbench.engine.assembly import make_transform
from cellbench.engine.devices import choose_device, choose_precision
from cellbench.engine.evaluation import infer
from cellbench.errors import UserError
from cellbench.models.counter import CellCounter
from cellbench.models.folding import fold_batch_norms
from cellbench.models.kept_weights import load_kept
from cellbench.records.trained_runs import TrainedRun
from cellbench.structures import Prediction, no_points

# Told which share of a picture has been seen since it was told last.
Seen = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class TrainedCounter:
    """A method with its weights, thresholds and preprocessing, ready to count.

    Attributes:
        network: with its weights and thresholds.
        transforms: what prepared the images that it was trained on.
        input_scale: px of its input per px of such an image.
        precision: "float32" or "bfloat16".
    """

    network: CellCounter
    transforms: tuple[Transform, ...]
    input_scale: float
    precision: str

    def count(
        self,
        pixels: NDArray[np.uint8],
        *,
        scale: float = 1.0,
        name: str = "",
        seen: Seen = lambda share: None,
    ) -> Prediction:
        """Count the cells of a picture as the images of a test part are counted.

        What prepares an image sees the whole of it; one that is too large for the network is then
        seen in tiles that overlap. A method that looks at a whole picture at once (and not at
        each place's surroundings) sees the tile instead.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            scale: px that a cell should have per px that it has: 2 where the picture's cells are
                half as wide as those that the method was trained on.
            name: of the picture, for messages.
            seen: told of progress.

        Returns:
            Points in px of the picture as it was given; no density.

        Raises:
            UserError: the picture is too large for a method that says a number and not where.
        """
        prepared = prepared_pixels(Picture(pixels, no_points()), self.transforms)
        factor = self.input_scale * scale
        height, width = (scaled_length(edge, factor) for edge in pixels.shape[:2])
        parts = []
        for x, y in tiles((width, height)):
            parts.append(self._part(prepared, x, y, factor, name))
            if len(parts) > 1:
                release_freed_memory()
            seen((x.last - x.first) * (y.last - y.first) / (width * height))
        points = [found.points for found in parts if found.points is not None]
        scores = [found.scores for found in parts if found.scores is not None]
        return Prediction(
            count=float(sum(found.count for found in parts)),
            points=np.concatenate(points) if points else None,
            scores=np.concatenate(scores) if scores else None,
        )

    def _part(
        self, pixels: NDArray[np.uint8], x: Tile, y: Tile, factor: float, name: str
    ) -> Prediction:
        """What a tile holds in the part of it that counts."""
        size = (x.stop - x.start, y.stop - y.start)
        box = (x.start / factor, y.start / factor, x.stop / factor, y.stop / factor)
        array = resample(pixels, box=box, size=size)
        data = {"arrays": [array], "scale": factor, "image_ids": [name]}
        (candidates,), _ = infer(self.network, [(data, [])], precision=self.precision)
        found = self.network.select(candidates)
        if (x.first, x.last, y.first, y.last) == (x.start, x.stop, y.start, y.stop):
            return found
        return _inside(found, x, y, factor, name)


def _inside(found: Prediction, x: Tile, y: Tile, factor: float, name: str) -> Prediction:
    """Of what was found in a tile that which counts, in px of the picture."""
    if found.points is None and found.density is None:
        raise UserError(
            f"{name} is too large to be seen whole, and this method says how many cells there "
            "are but not where; cut it into pieces, or count with another method."
        )
    count, points, scores = found.count, found.points, found.scores
    if points is not None:
        at_x, at_y = points[:, 0] + x.start / factor, points[:, 1] + y.start / factor
        keep = (at_x >= x.first / factor) & (at_x < x.last / factor)
        keep &= (at_y >= y.first / factor) & (at_y < y.last / factor)
        # of a count that is not that of the points, the points' share
        count = found.count * int(keep.sum()) / len(keep) if len(keep) else 0.0
        points = np.stack([at_x, at_y], axis=1)[keep].astype(np.float32)
        scores = None if scores is None else scores[keep]
    if found.density is not None:
        count = part_of_sum(found.density, x, y)
    return Prediction(count, points, scores)


def load_counter(
    run: TrainedRun, *, device: str = "auto", trust_weights: bool = False
) -> TrainedCounter:
    """A finished run's method with the weights and thresholds that were kept.

    Args:
        run: whose weights are at hand.
        device: "auto", "cpu", "cuda", ...
        trust_weights: take weights of another hash than the record's.

    Raises:
        UserError: the device is not there, the record sets what only the user of this machine may
            set, a part of the method is not installed, or the file
            does not hold the weights that the record scored, or holds values that are not finite.
    """
    where = choose_device(device)
    config = run.config
    check_foreign_parts(config.plain(), run.source)
    network = load_kept(config.model, run.weights, sha256=run.weights_sha256, trust=trust_weights)
    network.to(device=where, memory_format=torch.channels_last)
    return TrainedCounter(
        network=fold_batch_norms(network.eval()),  # here once, not for every tile
        transforms=_prepare(config),
        input_scale=config.data.input_scale,
        precision=choose_precision(config.schedule.precision, where),
    )


def _prepare(config: ResolvedConfig) -> tuple[Transform, ...]:
    return tuple(
        make_transform(options, config.data.input_scale) for options in config.data.prepare
    )
