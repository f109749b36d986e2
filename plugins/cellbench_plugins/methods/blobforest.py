"""Blobs of a scale space, each judged by a forest that has learned which of them are cells."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cellbench.data.whole_images import WholeImages
from cellbench.errors import PartError, UserError
from cellbench.metrics.localisation import match_points
from cellbench.registry import COUNTERS
from cellbench.structures import Points
from cellbench_plugins._ops.forests import Forest, grow
from cellbench_plugins._ops.views import view
from cellbench_plugins.methods._blob_features import FEATURES, blob_features, noise_response
from cellbench_plugins.methods._classical import Found, half_spacing, unpacked
from cellbench_plugins.methods.bloblog import BlobLoG, BlobSetting

# Most nodes that a tree's int16 can name.
_MOST_LEAVES = 1 << 14
# What a forest is made of, and as what it is kept.
KINDS = {
    "feature": torch.int16,
    "threshold": torch.float32,
    "left": torch.int16,
    "right": torch.int16,
    "share": torch.float32,
}


@COUNTERS.register_module()
class BlobForest(BlobLoG):
    """Counts the blobs that a forest of randomised trees takes for cells.

    View, polarity and scales are chosen as `BlobLoG` chooses them, on the training images. Every
    blob that stands out of the noise is then described by its brightness, colour and surroundings
    at several widths, and by what lies between it and the nearest stronger one. Trees learn from
    the training images which blobs have an annotated cell, one to one, within half the spacing of
    the cells; the mean of their answers is the score.

    Nothing is trained by steps: a few annotated images are learned from in seconds.

    Attributes:
        tree_feature: (T, N) int16 buffer, and so on for all that a `Forest` is made of.

    Source: trees as Geurts, Ernst & Wehenkel, Machine Learning 63, 2006; a forest on the answers
        of filters as Sommer et al., "ilastik", ISBI 2011, which judges pixels; blobs as Lindeberg,
        IJCV 1998.
    """

    needs_points: ClassVar[bool] = True
    learned_buffers: ClassVar[tuple[str, ...]] = ("tree_threshold", "tree_share")
    no_export: ClassVar[str] = "it has no network, only filters and a forest of trees"

    def __init__(
        self,
        *,
        sigmas_px: Sequence[float] = (1.5, 2.1, 3.0, 4.2, 6.0, 8.5, 12.0),
        most_scales: int = 3,
        overlap: float = 0.5,
        noise_floor: float = 4.0,
        trees: int = 200,
        leaves: int = 256,
        least_blobs: int = 3,
    ) -> None:
        """Build the grid of settings and room for the forest.

        Args:
            sigmas_px: scales, ascending, px of the original image.
            most_scales: ranges of 1 to so many neighbouring scales are tried.
            overlap: share of the smaller disc above which two blobs are one, in (0, 1].
            noise_floor: blobs that respond less than so many deviations of the noise are dropped.
            trees: of the forest.
            leaves: most of a tree.
            least_blobs: fewest training blobs of a leaf.

        Raises:
            PartError: as `BlobLoG`, or no such forest.
        """
        if trees < 1 or not 2 <= leaves <= _MOST_LEAVES or least_blobs < 1:
            raise PartError(
                f"trees and least_blobs are at least 1 and leaves 2 to {_MOST_LEAVES}, not "
                f"{trees}, {least_blobs} and {leaves}."
            )
        super().__init__(sigmas_px=sigmas_px, most_scales=most_scales, overlap=overlap)
        self.noise_floor = noise_floor
        self.trees, self.leaves, self.least_blobs = trees, leaves, least_blobs
        # Made by PyTorch, so that a forest of any size can be made without memory to see its shape.
        shape = (trees, 2 * leaves - 1)
        for name, kind in KINDS.items():
            empty = torch.full(shape, -1 if name == "feature" else 0, dtype=kind)
            self.register_buffer(f"tree_{name}", empty)
        self.register_load_state_dict_post_hook(_check)

    def fit(self, train: Any, validation: Any) -> bool:
        """Choose the setting and grow the forest, on training images alone."""
        images = WholeImages(train.stored, train.ids, input_scale=train.input_scale)
        super().fit(train, images)
        setting: Any = self.settings[int(self.setting)]
        rows, truth = [], []
        for data, samples in images:
            batch = self.data_preprocessor(data)["images"]
            rows += [
                self._described(pixels, scale=batch.scale, setting=setting)
                for pixels in unpacked(self.data_preprocessor, batch)
            ]
            truth += samples
        radius_px = half_spacing(truth)
        labels = [
            are_cells(points, sample.points, radius_px)
            for (points, _), sample in zip(rows, truth, strict=True)
        ]
        forest = grow(
            np.concatenate([described for _, described in rows]),
            np.concatenate(labels),
            trees=self.trees,
            leaves=self.leaves,
            least=self.least_blobs,
            seed=int(torch.randint(2**31, ())),  # of the run, whose seed the generator has
            by="BlobForest",
        )
        for name in KINDS:
            getattr(self, f"tree_{name}").copy_(torch.from_numpy(getattr(forest, name)))
        return True

    def locate(self, pixels: NDArray[np.float32], *, scale: float, setting: Any) -> Found:
        """Every blob of the chosen setting that is above the noise, with the forest's answer."""
        points, described = self._described(pixels, scale=scale, setting=setting)
        return Found(points, self.forest().probability(described))

    def _described(
        self, pixels: NDArray[np.float32], *, scale: float, setting: BlobSetting
    ) -> tuple[Points, NDArray[np.float32]]:
        """The blobs of one image, (N, 2) px of the original image, and what they look like."""
        (found,) = self.find(pixels, scale=scale, settings=[setting])
        plane = setting.sign * view(pixels, setting.view, by="BlobForest")
        first, last = setting.sigmas_px[setting.first], setting.sigmas_px[setting.last]
        # Noise responds most at the finest scale.
        noise = noise_response(plane, first * scale)
        keep = found.scores >= self.noise_floor * noise
        points, scores = found.points[keep], found.scores[keep]
        unit = float(np.sqrt(first * last)) * scale
        return points, blob_features(pixels, plane, points * scale, scores, unit=unit, noise=noise)

    def forest(self) -> Forest:
        """The trees in the buffers; none before `fit`."""
        return Forest(**{name: getattr(self, f"tree_{name}").cpu().numpy() for name in KINDS})


def _check(counter: torch.nn.Module, _: object) -> None:
    """Refuse loaded buffers that are no forest: they may come from anyone.

    Raises:
        UserError: they hold something else.
    """
    assert isinstance(counter, BlobForest)
    try:
        counter.forest().check(FEATURES)
    except ValueError as error:
        raise UserError(
            f"The weights of {type(counter).__name__} hold no forest ({error}); restore the run's "
            "own, or train again."
        ) from None


def are_cells(points: Points, cells: Points, radius_px: float) -> NDArray[np.bool_]:
    """(N,): which points have a cell of their own.

    Args:
        points: (N, 2), (x, y) px.
        cells: (A, 2).
        radius_px: greatest distance of a pair.
    """
    paired = np.zeros(len(points), dtype=bool)
    paired[match_points(points, cells, radius_px)[0]] = True
    return paired
