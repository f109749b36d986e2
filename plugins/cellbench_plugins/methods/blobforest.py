"""BlobForest: scale-space blobs classified by a forest of randomised trees."""

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

# Most leaves whose nodes an int16 can index.
_MOST_LEAVES = 1 << 14
# Arrays of a forest and their types as buffers.
KINDS = {
    "feature": torch.int16,
    "threshold": torch.float32,
    "left": torch.int16,
    "right": torch.int16,
    "share": torch.float32,
}


@COUNTERS.register_module()
class BlobForest(BlobLoG):
    """Blob detector whose candidates are classified by a forest of randomised trees.

    View, polarity and scales are chosen as in `BlobLoG`, on the training images. The features of
    every blob above the noise are its brightness, colour and surroundings at several widths, and
    the dip between it and the nearest stronger one. The trees learn from the training images which
    blobs match an annotated cell, one to one, within half the spacing of the cells; the score is
    the mean of their outputs.

    There are no training steps: fitting to a few annotated images takes seconds.

    Attributes:
        tree_feature: (T, N) int16 buffer; likewise `tree_` and the name of each array of `Forest`.

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
        """Build the grid of settings and the buffers of the forest.

        Args:
            sigmas_px: scales, ascending, px of the original image.
            most_scales: largest number of neighbouring scales in a range to try.
            overlap: share of the smaller disc above which two blobs are one, in (0, 1].
            noise_floor: minimum response of a blob, in standard deviations of the noise response.
            trees: number of trees.
            leaves: maximum number of leaves of a tree.
            least_blobs: fewest training blobs of a leaf.

        Raises:
            PartError: as `BlobLoG`, or an invalid size of the forest.
        """
        if trees < 1 or not 2 <= leaves <= _MOST_LEAVES or least_blobs < 1:
            raise PartError(
                f"trees and least_blobs are at least 1 and leaves 2 to {_MOST_LEAVES}, not "
                f"{trees}, {least_blobs} and {leaves}."
            )
        super().__init__(sigmas_px=sigmas_px, most_scales=most_scales, overlap=overlap)
        self.noise_floor = noise_floor
        self.trees, self.leaves, self.least_blobs = trees, leaves, least_blobs
        # PyTorch tensors, so that a forest of any size can be built on the meta device.
        shape = (trees, 2 * leaves - 1)
        for name, kind in KINDS.items():
            empty = torch.full(shape, -1 if name == "feature" else 0, dtype=kind)
            self.register_buffer(f"tree_{name}", empty)
        self.register_load_state_dict_post_hook(_check)

    def fit(self, train: Any, validation: Any) -> bool:
        """Choose the setting and grow the forest, on the training images only."""
        images = WholeImages(train.stored, train.ids, input_scale=train.input_scale)
        super().fit(train, images)
        setting: Any = self.settings[int(self.setting)]
        rows, truth = [], []
        for data, samples in images:
            batch = self.data_preprocessor(data)["images"]
            rows += [
                self._find_with_features(pixels, scale=batch.scale, setting=setting)
                for pixels in unpacked(self.data_preprocessor, batch)
            ]
            truth += samples
        radius_px = half_spacing(truth)
        labels = [
            are_cells(points, sample.points, radius_px)
            for (points, _), sample in zip(rows, truth, strict=True)
        ]
        forest = grow(
            np.concatenate([features for _, features in rows]),
            np.concatenate(labels),
            trees=self.trees,
            leaves=self.leaves,
            least=self.least_blobs,
            seed=int(torch.randint(2**31, ())),  # from the generator, which has the run's seed
            by="BlobForest",
        )
        for name in KINDS:
            getattr(self, f"tree_{name}").copy_(torch.from_numpy(getattr(forest, name)))
        return True

    def locate(self, pixels: NDArray[np.float32], *, scale: float, setting: Any) -> Found:
        """Find the blobs of the chosen setting above the noise, with the forest's probability."""
        points, features = self._find_with_features(pixels, scale=scale, setting=setting)
        return Found(points, self.forest().probability(features))

    def _find_with_features(
        self, pixels: NDArray[np.float32], *, scale: float, setting: BlobSetting
    ) -> tuple[Points, NDArray[np.float32]]:
        """Find the blobs of one image, (N, 2) px of the original image, and their features."""
        (found,) = self.find(pixels, scale=scale, settings=[setting])
        plane = setting.sign * view(pixels, setting.view, by="BlobForest")
        first, last = setting.sigmas_px[setting.first], setting.sigmas_px[setting.last]
        # The noise response is largest at the finest scale.
        noise = noise_response(plane, first * scale)
        keep = found.scores >= self.noise_floor * noise
        points, scores = found.points[keep], found.scores[keep]
        unit = float(np.sqrt(first * last)) * scale
        return points, blob_features(pixels, plane, points * scale, scores, unit=unit, noise=noise)

    def forest(self) -> Forest:
        """Return the forest in the buffers; before `fit` every tree is a leaf of share 0."""
        return Forest(**{name: getattr(self, f"tree_{name}").cpu().numpy() for name in KINDS})


def _check(counter: torch.nn.Module, _: object) -> None:
    """Validate that the loaded buffers, which are untrusted, hold a forest.

    Raises:
        UserError: they do not.
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
    """Select the points that match a cell one to one, (N,) bool.

    Args:
        points: (N, 2), (x, y) px.
        cells: (A, 2).
        radius_px: largest distance of a pair.
    """
    paired = np.zeros(len(points), dtype=bool)
    paired[match_points(points, cells, radius_px)[0]] = True
    return paired
