"""BlobLoG: scale-space maxima of the scale-normalised Laplacian of a Gaussian."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import PartError
from cellbench.registry import COUNTERS
from cellbench_plugins._ops.views import VIEWS, view
from cellbench_plugins.methods._classical import ClassicalCounter, Found


@dataclass(frozen=True, slots=True)
class BlobSetting:
    """Parameters of a blob detection.

    Attributes:
        view: one of `VIEWS`.
        sign: 1 for cells that are bright in it, -1 for dark ones.
        first: index of the least scale.
        last: index of the greatest scale.
        sigmas_px: all scales, px of the original image.
    """

    view: str
    sign: int
    first: int
    last: int
    sigmas_px: tuple[float, ...]

    def named(self) -> dict[str, float]:
        """Return 1 (bright cells) or -1 (dark) for the chosen view, 0 for others; scales in px."""
        chosen = {view: float(self.sign * (view == self.view)) + 0.0 for view in VIEWS}
        low, high = self.sigmas_px[self.first], self.sigmas_px[self.last]
        return {**chosen, "min_sigma_px": low, "max_sigma_px": high}


@dataclass(frozen=True, slots=True)
class Blobs:
    """Spatial maxima of all scales of one view.

    Attributes:
        points: (N, 2) float32, (x, y) px of the original image.
        scores: (N,) float32 responses.
        scale: (N,) index of each one's sigma.
        above_finer: (N,) bool, greater than all its neighbours one scale below.
        above_coarser: (N,) bool, at least as great as all its neighbours one scale above.
        rivals: (P, 2) rows of pairs that overlap too much, the stronger first, sorted.
    """

    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    scale: NDArray[np.int64]
    above_finer: NDArray[np.bool_]
    above_coarser: NDArray[np.bool_]
    rivals: NDArray[np.int64]

    def between(self, first: int, last: int) -> NDArray[np.bool_]:
        """Select the maxima of the scale space restricted to the scales `first` to `last`."""
        inside = (self.scale >= first) & (self.scale <= last)
        lower = (self.scale == first) | self.above_finer
        upper = (self.scale == last) | self.above_coarser
        return inside & lower & upper


@COUNTERS.register_module()
class BlobLoG(ClassicalCounter):
    """Blob detector: maxima of the Laplacian of a Gaussian over space and scale.

    The response is -sigma^2 times the Laplacian of the Gaussian of a view (its negative for dark
    cells); its value at a maximum is the score. A blob is a disc of radius sqrt(2) sigma; of two
    that overlap by more than `overlap` of the smaller disc, the stronger is kept. View, polarity
    and range of scales are chosen on data, see `fit`.

    Source: Lindeberg, Feature detection with automatic scale selection, IJCV 1998, section 5.

    Differs: scikit-image's `blob_log` drops the smaller of two overlapping blobs; here it is the
        weaker, so that the blobs above a threshold are the same wherever the threshold is.
    """

    def __init__(
        self,
        *,
        sigmas_px: Sequence[float] = (1.5, 2.1, 3.0, 4.2, 6.0, 8.5, 12.0),
        most_scales: int = 3,
        overlap: float = 0.5,
        score_floor: float = 1e-4,
    ) -> None:
        """Build the grid of settings.

        Args:
            sigmas_px: scales, ascending, px of the original image.
            most_scales: largest number of neighbouring scales in a range to try.
            overlap: share of the smaller disc above which two blobs are one, in (0, 1].
            score_floor: minimum response; a full-contrast blob has about 0.5.

        Raises:
            PartError: scales that are not positive and ascending, or an invalid range or overlap.
        """
        sigmas = tuple(float(sigma) for sigma in sigmas_px)
        if not sigmas or sigmas[0] <= 0 or any(a >= b for a, b in pairwise(sigmas)):
            raise PartError(f"sigmas_px: ascending numbers above 0 are wanted, not {sigmas_px}.")
        if most_scales < 1 or not 0 < overlap <= 1:
            raise PartError(
                "most_scales is at least 1 and overlap lies above 0 and up to 1, not "
                f"{most_scales} and {overlap}."
            )
        ranges = [
            (first, first + extent)
            for extent in range(min(most_scales, len(sigmas)))
            for first in range(len(sigmas) - extent)
        ]
        super().__init__(
            settings=[
                BlobSetting(view, sign, first, last, sigmas)
                for view in VIEWS
                for sign in (1, -1)
                for first, last in ranges
            ]
        )
        self.sigmas_px = sigmas
        self.most_scales = most_scales
        self.overlap = overlap
        self.score_floor = score_floor

    def find(
        self, pixels: NDArray[np.float32], *, scale: float, settings: Sequence[Any]
    ) -> list[Found]:
        """Find the blobs under each setting; each Laplacian is computed once."""
        known: dict[tuple[str, int], Blobs] = {}
        for name in {setting.view for setting in settings}:
            wanted = [s for s in settings if s.view == name]
            first, last = min(s.first for s in wanted), max(s.last for s in wanted)
            sigmas = np.array(self.sigmas_px[first : last + 1])
            plane = view(pixels, name, by="BlobLoG")
            response = scale_space(plane, (sigmas * scale).tolist())
            for sign in {s.sign for s in wanted}:
                known[name, sign] = blobs(
                    sign * response,
                    math.sqrt(2) * sigmas,
                    scale=scale,
                    first=first,
                    floor=self.score_floor,
                    overlap=self.overlap,
                    apart=self.most_scales,
                )
        return [self._kept(known[s.view, s.sign], s) for s in settings]

    def _kept(self, found: Blobs, setting: BlobSetting) -> Found:
        maxima = found.between(setting.first, setting.last)
        pairs = found.rivals[maxima[found.rivals].all(axis=1)]
        rows = np.flatnonzero(maxima & strongest(len(maxima), pairs))
        return Found(found.points[rows], np.clip(found.scores[rows], 0.0, 1.0))


def scale_space(plane: NDArray[np.float32], sigmas: Sequence[float]) -> NDArray[np.float32]:
    """Compute -sigma^2 times the Laplacian of the Gaussian: bright blobs are positive.

    Args:
        plane: (H, W).
        sigmas: px of the plane.

    Returns:
        (S, H, W); the plane is reflected at its border.
    """
    from scipy.ndimage import gaussian_laplace

    return np.stack([-(s**2) * gaussian_laplace(plane, s, mode="reflect") for s in sigmas])


def blobs(
    response: NDArray[np.float32],
    radii_px: NDArray[np.floating],
    *,
    scale: float,
    first: int,
    floor: float,
    overlap: float,
    apart: int,
) -> Blobs:
    """Find the spatial maxima of each scale, strongest first.

    Of equal neighbours the first in reading order is the maximum.

    Args:
        response: (S, H, W) of `scale_space`, S at least 1.
        radii_px: (S,) radii of the discs, px of the original image.
        scale: px of the response per px of the original image.
        first: index of the first scale of the response.
        floor: minimum response.
        overlap: see `BlobLoG`.
        apart: see `rivals`.
    """
    around = _highest_around(response)
    peaks = np.argwhere((response == around) & (response >= floor))
    near = _neighbourhoods(response, peaks)
    order = _strongest_first(near)
    near = near[order]
    level, row, column = peaks[order].T
    points = (np.stack([column, row], axis=1) + 0.5 + _subpixel_shift(near)) / scale
    scores = near[:, 1, 1]
    return Blobs(
        points=points.astype(np.float32),
        scores=scores,
        scale=level + first,
        above_finer=scores > around[np.maximum(level - 1, 0), row, column],
        above_coarser=scores >= around[np.minimum(level + 1, len(response) - 1), row, column],
        rivals=rivals(points, level, radii_px, overlap=overlap, apart=apart),
    )


def _neighbourhoods(response: NDArray[np.float32], peaks: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the 3x3 responses around each (level, row, column), (N, 3, 3); -inf outside."""
    padded = np.pad(response, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    level, row, column = peaks.T[:, :, None, None]  # (N, 1, 1) each
    return padded[level, row + np.arange(3)[:, None], column + np.arange(3)]


def _strongest_first(near: NDArray[np.float32]) -> NDArray[np.int64]:
    """Order peaks by response, without those that an equal one precedes in reading order."""
    centre, earlier = near[:, 1, 1], near.reshape(-1, 9)[:, :4]
    firsts = np.flatnonzero((centre[:, None] > earlier).all(axis=1))
    return firsts[np.argsort(-centre[firsts], kind="stable")]


def _subpixel_shift(near: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the offset (x, y) of each peak from the centre of its cell, (N, 2)."""
    left, centre, right = near[:, 1].T
    above, below = near[:, 0, 1], near[:, 2, 1]
    return np.stack([_top(left, centre, right), _top(above, centre, below)], axis=1)


def _highest_around(response: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the maximum of the 3x3 cells around each cell, (S, H, W)."""
    highest = response
    for axis in (1, 2):
        here = np.moveaxis(highest, axis, 0)
        wide = here.copy()
        np.maximum(wide[1:], here[:-1], out=wide[1:])
        np.maximum(wide[:-1], here[1:], out=wide[:-1])
        highest = np.moveaxis(wide, 0, axis)
    return highest


def _top(
    before: NDArray[np.float32], here: NDArray[np.float32], after: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Find the vertex of the parabola through three values, within half a px; 0 at the border."""
    bend = before + after - 2 * here
    inside = np.isfinite(bend) & (bend < 0)
    slope = np.where(inside, before, 0) - np.where(inside, after, 0)
    return np.clip(0.5 * slope / np.where(inside, bend, -1), -0.5, 0.5)


def rivals(
    points: NDArray[np.floating],
    levels: NDArray[np.int64],
    radii: NDArray[np.floating],
    *,
    overlap: float,
    apart: int,
) -> NDArray[np.int64]:
    """Find pairs of discs that overlap too much.

    Args:
        points: (N, 2) centres, strongest first.
        levels: (N,) index of each one's radius.
        radii: (S,) above 0, ascending.
        overlap: share of the smaller disc's area.
        apart: difference of levels from which discs are not compared.

    Returns:
        (P, 2) rows, the stronger first, sorted.
    """
    from scipy.spatial import KDTree

    rows = [np.flatnonzero(levels == level) for level in range(len(radii))]
    trees = [KDTree(points[own]) if len(own) else None for own in rows]
    keys = [np.zeros(0, dtype=np.int64)]
    for small, tree in enumerate(trees):
        for large in range(small, min(small + apart, len(radii))):
            other = trees[large]
            if tree is None or other is None:
                continue
            # More than half of a disc can be shared only if its centre lies in the larger one.
            reach = radii[large] + (0 if overlap >= 0.5 else radii[small])
            pairs = tree.sparse_distance_matrix(other, float(reach), output_type="ndarray")
            share = shared_area(pairs["v"], radii[small], radii[large])
            first, second = rows[small][pairs["i"]], rows[large][pairs["j"]]
            keep = (share > overlap) & ((first < second) if small == large else True)
            first, second = first[keep], second[keep]
            keys.append(np.minimum(first, second) * len(points) + np.maximum(first, second))
    return np.stack(np.divmod(np.sort(np.concatenate(keys)), max(1, len(points))), axis=1)


def strongest(number: int, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Select the discs that remain when each kept one suppresses weaker ones that overlap it.

    Args:
        number: number of discs, which are sorted strongest first.
        pairs: (P, 2) rows, the stronger first, sorted.

    Returns:
        (number,) bool.
    """
    stays = np.ones(number, dtype=bool)
    for strong, weak in pairs.tolist():
        if stays[strong]:
            stays[weak] = False
    return stays


def shared_area(distance: NDArray[np.floating], first: float, second: float) -> NDArray[np.float64]:
    """Compute the intersection of two discs as a share of the smaller one's area.

    Args:
        distance: (N,) distances of the centres.
        first: radius of one disc, above 0.
        second: radius of the other, above 0.
    """
    small, large = min(first, second), max(first, second)
    d = np.clip(distance, max(large - small, 1e-12), large + small).astype(np.float64)
    cos_small = np.clip((d**2 + small**2 - large**2) / (2 * d * small), -1, 1)
    cos_large = np.clip((d**2 + large**2 - small**2) / (2 * d * large), -1, 1)
    kite = np.maximum((small + large - d) * (d + small - large), 0)
    kite = kite * np.maximum((d - small + large) * (d + small + large), 0)
    lens = small**2 * np.arccos(cos_small) + large**2 * np.arccos(cos_large) - np.sqrt(kite) / 2
    lens = np.where(distance <= large - small, np.pi * small**2, lens)
    return np.where(distance >= large + small, 0.0, lens / (np.pi * small**2))
