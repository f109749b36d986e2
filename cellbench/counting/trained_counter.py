"""Counter of cells in a picture with a trained method."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from cellbench.config.part_options import check_untrusted_parts
from cellbench.counting.tiles import Tile, integrate_core, release_freed_memory, tiles
from cellbench.data.contracts import Picture, Transform
from cellbench.data.large import Pixels
from cellbench.data.pipeline import prepared_pixels
from cellbench.data.resampling import resample, scaled_length
from cellbench.engine.assembly import make_transform
from cellbench.engine.devices import choose_device, choose_precision, keep_freed_memory
from cellbench.engine.evaluation import infer
from cellbench.errors import UserError, is_out_of_memory
from cellbench.metrics.calibration import CountCalibration
from cellbench.models.counter import CellCounter
from cellbench.models.folding import fold_batch_norms
from cellbench.models.kept_weights import load_kept
from cellbench.records.trained_runs import TrainedRun
from cellbench.structures import Prediction, no_points

# Called with the share of the picture that was processed since the last call.
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class TrainedCounter:
    """Method with its weights, thresholds and preprocessing, for inference.

    Attributes:
        network: network with its weights and thresholds.
        transforms: preprocessing of the images that it was trained on.
        input_scale: px of the network's input per px of such an image.
        precision: "float32" or "bfloat16".
        calibration: calibration of its counts; None if there is none.
    """

    network: CellCounter
    transforms: tuple[Transform, ...]
    input_scale: float
    precision: str
    calibration: CountCalibration | None = None

    def count(
        self,
        pixels: Pixels,
        *,
        scale: float = 1.0,
        name: str = "",
        progress: Progress = lambda share: None,
    ) -> Prediction:
        """Count the cells of a picture in the same way as those of a test image.

        The transforms of `data.prepare` are applied to the whole picture; a picture that is too
        large for the network is then processed in overlapping tiles. A method that uses global
        context of the whole picture gets that of each tile instead. The sum over the tiles is
        calibrated as the counts of test images are, the offset in proportion to the picture's area
        in px of such images.

        Args:
            pixels: (H, W, 3) uint8 RGB; a large picture only if there are no transforms.
            scale: resampling factor: 2 if the picture's cells are half as wide, in px, as those
                that the method was trained on.
            name: name of the picture, for messages.
            progress: called after every tile.

        Returns:
            Points in px of the given picture; no density.

        Raises:
            UserError: the picture needs tiles and the method gives neither points nor a density, or
                there is not enough memory.
        """
        # Resampling needs only the shape and windows, which large pictures provide as arrays do.
        whole = Picture(cast(NDArray[np.uint8], pixels), no_points())
        prepared = prepared_pixels(whole, self.transforms)
        factor = self.input_scale * scale
        height, width = (scaled_length(edge, factor) for edge in pixels.shape[:2])
        grid = tiles((width, height))
        parts = []
        for x, y in grid:
            box = (
                x.read.start / factor,
                y.read.start / factor,
                x.read.stop / factor,
                y.read.stop / factor,
            )
            array = resample(prepared, box=box, size=(len(x.read), len(y.read)))
            data = {"arrays": [array], "scale": factor, "image_ids": [name]}
            try:
                (candidates,), _ = infer(self.network, [(data, [])], precision=self.precision)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise UserError(self._too_little_memory(name)) from None
            found = self.network.select(candidates)
            parts.append(found if len(grid) == 1 else crop_to_core(found, x, y, factor, name))
            if len(grid) > 1:
                release_freed_memory()
            progress(len(x.core) * len(y.core) / (width * height))
        points = [found.points for found in parts if found.points is not None]
        scores = [found.scores for found in parts if found.scores is not None]
        total = Prediction(float(sum(found.count for found in parts)))
        if self.calibration is not None:
            size = (pixels.shape[1] * scale, pixels.shape[0] * scale)
            total = self.calibration.correct_prediction(total, size)
        return Prediction(
            count=total.count,
            points=np.concatenate(points) if points else None,
            scores=np.concatenate(scores) if scores else None,
        )

    def _too_little_memory(self, name: str) -> str:
        if self.network.device.type == "cpu":
            return f"There is not the memory to count {name or 'it'}; end other programs."
        return (
            f"The GPU has not the memory to count {name or 'it'}; end what else uses it, or take "
            "--device cpu."
        )


def crop_to_core(found: Prediction, x: Tile, y: Tile, factor: float, name: str) -> Prediction:
    """Select the cells of a tile that lie in its core.

    Args:
        found: points in px of the picture, relative to the tile's corner; density of the tile.
        x: the tile along x.
        y: the tile along y.
        factor: input px per px of the picture.
        name: name of the picture, for messages.

    Returns:
        Points relative to the picture's corner. A point on the border of two cores belongs to the
        second: cores are half-open.

    Raises:
        UserError: there are neither points nor a density.
    """
    if found.points is None and found.density is None:
        raise UserError(
            f"{name} is too large to be processed whole, and this method gives a number of cells "
            "and no places; cut it into pieces, or count with another method."
        )
    count, points, scores = found.count, found.points, found.scores
    if points is not None:
        corner = np.array([x.read.start, y.read.start]) / factor
        low = np.array([x.core.start, y.core.start]) / factor
        high = np.array([x.core.stop, y.core.stop]) / factor
        placed = points + corner
        inside = (placed >= low) & (placed < high)
        keep = inside[:, 0] & inside[:, 1]
        # The count may differ from the number of points; it is reduced in proportion.
        count = found.count * int(keep.sum()) / len(keep) if len(keep) else 0.0
        points = placed[keep].astype(np.float32)
        scores = None if scores is None else scores[keep]
    if found.density is not None:
        count = integrate_core(found.density, x, y)
    return Prediction(count, points, scores)


def load_counter(
    run: TrainedRun, *, device: str = "auto", trust_weights: bool = False
) -> TrainedCounter:
    """Load a finished run's method with its weights and thresholds.

    Args:
        run: a run with weights.
        device: "auto", "cpu", "cuda", ...
        trust_weights: accept weights whose hash is not the record's.

    Raises:
        UserError: the device is missing, the record sets an option that only the user of this
            machine may set, a part of the method is not installed, or the file does not hold the
            weights that the record scored, or holds values that are not finite.
    """
    where = choose_device(device)
    keep_freed_memory(where)
    config = run.config
    check_untrusted_parts(config.plain(), run.source)
    network = load_kept(config.model, run.weights, sha256=run.weights_sha256, trust=trust_weights)
    network.to(device=where, memory_format=torch.channels_last)
    known = run.record.get("calibration")
    return TrainedCounter(
        network=fold_batch_norms(network.eval()),  # folded once instead of for every tile
        transforms=tuple(make_transform(t, config.data.input_scale) for t in config.data.prepare),
        input_scale=config.data.input_scale,
        precision=choose_precision(config.schedule.precision, where),
        calibration=None if known is None else CountCalibration.of(known),
    )
