"""Base class of classical image-processing counters: a grid search over settings."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellbench.data.whole_images import WholeImages
from cellbench.models.batch import Batch, Images
from cellbench.models.counter import ValidationSet
from cellbench.models.scored import ScoredCounter
from cellbench.structures import CellSample, Points, Prediction

# Thresholds tried per setting; the chosen setting gets its exact threshold afterwards.
_STEPS = 256
# Settings are eligible whose F1 is at least this share of the best F1.
_MIN_F1_SHARE = 0.9


class Setting(Protocol):
    """One combination of parameters."""

    def named(self) -> dict[str, float]:
        """Return the parameters by name, for the record."""


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates of one image under one setting.

    Attributes:
        points: (N, 2) float32, (x, y) px of the original image.
        scores: (N,) float32 in [0, 1].
    """

    points: Points
    scores: NDArray[np.float32]


class ClassicalCounter(ScoredCounter):
    """Base of counters without training: candidates above a threshold, settings by grid search.

    `fit` evaluates every setting on the validation images (on the training images where a protocol
    has none), each at its threshold of least MAE. A count may be right for the wrong reason, for
    example where there are as many corners between cells as cells. Therefore only settings are
    eligible whose F1, within half the spacing of the annotated cells, is at least nine tenths of
    the best. Among these the one of least MAE is chosen, then of highest F1, then the earlier.
    `calibrate` then finds the exact threshold. The record holds both.

    Attributes:
        settings: the settings to try, in order.
        setting: () int64 buffer, index of the chosen one in `settings`.
    """

    needs_points: ClassVar[bool] = False
    trained_by_steps: ClassVar[bool] = False
    no_export: ClassVar[str] = "it has no network, only filters with a few chosen numbers"
    settings: Sequence[Setting]
    setting: Tensor

    def __init__(self, *, settings: Sequence[Setting]) -> None:
        """Set the grid; until `fit` the first setting is used.

        Args:
            settings: at least one.
        """
        super().__init__(threshold=0.5, size_multiple=1)
        self.settings = tuple(settings)
        self.register_buffer("setting", torch.tensor(0))

    @abstractmethod
    def find(
        self, pixels: NDArray[np.float32], *, scale: float, settings: Sequence[Any]
    ) -> list[Found]:
        """Find the candidates of one image under several settings.

        Args:
            pixels: (H, W, 3) RGB in [0, 1].
            scale: px of `pixels` per px of the original image.
            settings: some of `self.settings`.

        Returns:
            One `Found` per setting.
        """

    def locate(self, pixels: NDArray[np.float32], *, scale: float, setting: Any) -> Found:
        """Find the candidates under the chosen setting; a method may refine their points here."""
        return self.find(pixels, scale=scale, settings=[setting])[0]

    def fit(self, train: Any, validation: Any) -> bool:
        """Choose the setting, as described in the class."""
        if validation is None:
            validation = WholeImages(train.stored, train.ids, input_scale=train.input_scale)
        found, truth = self._try_all(validation)
        counts = np.array([sample.count for sample in truth])
        radius_px = half_spacing(truth)
        errors, f1 = np.zeros(len(found)), np.zeros(len(found))
        for place, images in enumerate(found):
            level, errors[place] = best_level([f.scores for f in images], counts)
            kept = [f.points[f.scores >= level] for f in images]
            if any(sample.counted is not None for sample in truth):
                continue  # images annotated by their count only: no points to match
            f1[place] = nearest_f1(kept, [sample.points for sample in truth], radius_px)
        errors[f1 < _MIN_F1_SHARE * f1.max()] = np.inf
        self.setting.fill_(int(np.lexsort((-f1, errors))[0]))
        return True

    def _try_all(
        self, images: Iterable[tuple[dict[str, Any], list[CellSample]]]
    ) -> tuple[list[list[Found]], list[CellSample]]:
        """Return the candidates per setting and image, and the annotations of the images."""
        found: list[list[Found]] = [[] for _ in self.settings]
        truth: list[CellSample] = []
        for data, samples in images:
            batch = self.data_preprocessor(data)["images"]
            for pixels in unpacked(self.data_preprocessor, batch):
                each = self.find(pixels, scale=batch.scale, settings=self.settings)
                for place, one in zip(found, each, strict=True):
                    place.append(one)
            truth += samples
        return found, truth

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raise an error: there is no training loss.

        Raises:
            NotImplementedError: always; `fit` replaces the training.
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained by steps")

    def infer(self, images: Images) -> list[Prediction]:
        """Return all candidates under the chosen setting."""
        setting = self.settings[int(self.setting)]
        predictions = []
        for pixels in unpacked(self.data_preprocessor, images):
            one = self.locate(pixels, scale=images.scale, setting=setting)
            predictions.append(
                Prediction(count=float(len(one.points)), points=one.points, scores=one.scores)
            )
        return predictions

    def calibrate(self, validation: ValidationSet) -> dict[str, float]:
        """Choose the threshold of least MAE on validation, then most F1; add the setting to it."""
        return super().calibrate(validation) | self.settings[int(self.setting)].named()


def unpacked(preprocessor: Any, images: Images) -> list[NDArray[np.float32]]:
    """Undo normalisation and padding: return the images, each (H, W, 3) RGB in [0, 1]."""
    pixels = images.pixels.float() * preprocessor.std + preprocessor.mean
    arrays = pixels.permute(0, 2, 3, 1).clamp(0, 1).cpu().numpy()
    sizes = images.sizes.tolist()
    return [array[:height, :width] for array, (width, height) in zip(arrays, sizes, strict=True)]


def best_level(
    scores: Sequence[NDArray[np.float32]], counts: NDArray[np.integer], *, steps: int = _STEPS
) -> tuple[float, float]:
    """Find the threshold on the scores of all images that gives the least MAE.

    Args:
        scores: per image (N_i,).
        counts: (images,) annotated cells, at least one image.
        steps: largest number of thresholds to try, quantiles of the scores.

    Returns:
        The threshold, and the MAE in cells per image.
    """
    levels = _levels(scores, steps)
    above = np.stack([len(s) - np.searchsorted(np.sort(s), levels) for s in scores], axis=1)
    errors = np.abs(above - counts).mean(axis=1)
    return float(levels[errors.argmin()]), float(errors.min())


def half_spacing(images: Sequence[CellSample]) -> float:
    """Compute half the median distance of a cell to its nearest neighbour in the same image, px.

    It is the radius within which a prediction matches an annotated cell. If no image has two
    cells, it is the median over the images of an eighth of the shorter side. At least 1.
    """
    from scipy.spatial import KDTree

    cells = [sample.points for sample in images]
    near = [np.asarray(KDTree(own).query(own, k=2)[0])[:, 1] for own in cells if len(own) > 1]
    if near:
        return max(1.0, float(np.median(np.concatenate(near))) / 2)
    return max(1.0, float(np.median([min(sample.size) for sample in images])) / 8)


def nearest_f1(found: Sequence[Points], cells: Sequence[Points], radius_px: float) -> float:
    """Compute the F1 of mutually nearest pairs: cheap, and a lower bound of optimal matching.

    Args:
        found: per image (N, 2), (x, y) px.
        cells: per image (A, 2).
        radius_px: largest distance of a pair.

    Returns:
        2 pairs / (found + cells); 1 if there is neither.
    """
    from scipy.spatial import KDTree

    pairs = total = 0
    for points, own in zip(found, cells, strict=True):
        total += len(points) + len(own)
        if len(points) and len(own):
            distance, nearest = KDTree(own).query(points)
            _, back = KDTree(points).query(own)
            mutual = np.asarray(back)[nearest] == np.arange(len(points))
            pairs += int((mutual & (distance <= radius_px)).sum())
    return 2 * pairs / total if total else 1.0


def _levels(scores: Sequence[NDArray[np.float32]], steps: int) -> NDArray[np.float32]:
    """Return the thresholds to try, ascending from the lowest score to above the highest."""
    pooled = np.sort(np.concatenate([np.asarray(s, dtype=np.float32) for s in scores]))
    if len(pooled) > steps:
        pooled = pooled[np.linspace(0, len(pooled) - 1, steps).round().astype(int)]
    return np.append(pooled, np.float32(np.inf))
