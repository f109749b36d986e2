"""Watershed baseline: threshold, distance transform and watershed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellbench.errors import PartError
from cellbench.models.peaks import local_maxima
from cellbench.registry import COUNTERS
from cellbench.structures import no_points
from cellbench_plugins._ops.optional import import_optional
from cellbench_plugins._ops.views import VIEWS, view
from cellbench_plugins.methods._classical import ClassicalCounter, Found


@dataclass(frozen=True, slots=True)
class RegionSetting:
    """Parameters of a segmentation; lengths are in px of the original image.

    Attributes:
        view: one of `VIEWS`.
        sign: 1 for cells that are bright in it, -1 for dark ones.
        smoothing_px: sigma of the Gaussian before the threshold.
        window_px: edge of the square whose mean is the local threshold; 0 for Otsu's global one.
        apart_px: minimum distance of two seeds.
    """

    view: str
    sign: int
    smoothing_px: float
    window_px: float
    apart_px: float

    def named(self) -> dict[str, float]:
        """Return 1 (bright cells) or -1 (dark) for the chosen view, 0 for others; lengths in px."""
        chosen = {view: float(self.sign * (view == self.view)) + 0.0 for view in VIEWS}
        return {
            **chosen,
            "smoothing_px": self.smoothing_px,
            "window_px": self.window_px,
            "apart_px": self.apart_px,
        }


@COUNTERS.register_module()
class Watershed(ClassicalCounter):
    """Watershed segmentation of the distance transform of the thresholded image.

    A view of the image is smoothed and thresholded; local maxima of the distance to the background
    are the seeds, and the watershed of the negative distance gives each seed its region. The point
    of a cell is the centroid of its region. Its score is r / (1 + r), where r is the distance at
    the seed in px of the original image, the radius of the largest disc inside; the score threshold
    is thus a least radius. View, polarity, smoothing, kind of threshold and distance of the seeds
    are chosen on data, see `fit`.

    Source: Beucher and Lantuejoul, Use of watersheds in contour detection, 1979; threshold of
        Otsu, IEEE Trans. SMC 9, 1979.

    Differs: the paper floods the gradient of the image; here the distance to the background is
    flooded, as is usual in image-analysis tools. Holes are not filled, and specks are not removed
    by opening.
    """

    def __init__(
        self,
        *,
        smoothings_px: Sequence[float] = (1.0, 2.0),
        windows_px: Sequence[float] = (0.0, 25.0, 51.0),
        apart_px: Sequence[float] = (2.0, 4.0, 8.0),
    ) -> None:
        """Build the grid of settings; all lengths are px of the original image.

        Args:
            smoothings_px: sigmas to try, from 0.
            windows_px: edges of the local threshold's window to try; 0 is Otsu's threshold.
            apart_px: minimum distances of two seeds to try.

        Raises:
            PartError: an empty list, or a negative length.
        """
        for name, values in (
            ("smoothings_px", smoothings_px),
            ("windows_px", windows_px),
            ("apart_px", apart_px),
        ):
            if not values or min(values) < 0:
                raise PartError(f"{name}: lengths of 0 px or more are wanted, not {values}.")
        super().__init__(
            settings=[
                RegionSetting(view, sign, float(smoothing), float(window), float(apart))
                for view in VIEWS
                for sign in (1, -1)
                for smoothing in smoothings_px
                for window in windows_px
                for apart in apart_px
            ]
        )

    def find(
        self, pixels: NDArray[np.float32], *, scale: float, settings: Sequence[Any]
    ) -> list[Found]:
        """Find the seeds under each setting; shared intermediate results are computed once."""
        planes = {v: view(pixels, v, by="Watershed") for v in {s.view for s in settings}}
        smooth: dict[tuple[str, float], NDArray[np.float32]] = {}
        depth: dict[tuple[str, int, float, float], NDArray[np.float32]] = {}
        peaks: dict[tuple[str, int, float, float], NDArray[np.int64]] = {}
        found = []
        for s in settings:
            soft = (s.view, s.smoothing_px)
            if soft not in smooth:
                smooth[soft] = smoothed(planes[s.view], s.smoothing_px * scale)
            cut = (s.view, s.sign, s.smoothing_px, s.window_px)
            if cut not in depth:
                mask = foreground(s.sign * smooth[soft], window=s.window_px * scale)
                depth[cut] = distance_inside(mask)
                peaks[cut] = maxima(depth[cut])
            rows = seeds(peaks[cut], apart=s.apart_px * scale)
            found.append(_found(rows + 0.5, depth[cut][tuple(rows.T)], scale))
        return found

    def locate(self, pixels: NDArray[np.float32], *, scale: float, setting: Any) -> Found:
        """Find the centroids of the regions, in the order of their seeds."""
        plane = view(pixels, setting.view, by="Watershed")
        soft = setting.sign * smoothed(plane, setting.smoothing_px * scale)
        depth = distance_inside(foreground(soft, window=setting.window_px * scale))
        rows = seeds(maxima(depth), apart=setting.apart_px * scale)
        return _found(centroids(depth, rows), depth[tuple(rows.T)], scale)


def smoothed(plane: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Smooth the plane with a Gaussian; a sigma of 0 returns it unchanged."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(plane, sigma, mode="nearest") if sigma > 0 else plane


def foreground(plane: NDArray[np.float32], *, window: float) -> NDArray[np.bool_]:
    """Select the pixels brighter than the threshold; none in an image of one value.

    Args:
        plane: (H, W).
        window: px, edge of the square whose mean is each pixel's threshold; 0 for Otsu's.
    """
    if not plane.size or np.ptp(plane) == 0:
        return np.zeros(plane.shape, dtype=bool)
    if window > 0:
        from scipy.ndimage import uniform_filter

        return plane > uniform_filter(plane, max(3, round(window)), mode="reflect")
    filters = import_optional("skimage.filters", package="scikit-image", by="Watershed")
    return plane > filters.threshold_otsu(plane)


def distance_inside(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Compute the distance of each foreground pixel to the background, px; 0 in the background.

    Pixels beyond the border of the image are not background, so that a cell cut by the border does
    not become narrower. Without background, all distances are the longer side of the image.
    """
    from scipy.ndimage import distance_transform_edt

    if mask.all():
        return np.full(mask.shape, max(mask.shape), dtype=np.float32)
    return distance_transform_edt(mask).astype(np.float32)


def maxima(depth: NDArray[np.float32]) -> NDArray[np.int64]:
    """Find the local maxima of the distance, deepest first, one per ridge: (N, 2) (row, column)."""
    mask = local_maxima(torch.from_numpy(np.ascontiguousarray(depth))[None])[0].numpy()
    rows = np.argwhere(mask & (depth > 0))
    return rows[np.argsort(-depth[tuple(rows.T)], kind="stable")]


def seeds(rows: NDArray[np.int64], *, apart: float) -> NDArray[np.int64]:
    """Select seeds among maxima: of those nearer than `apart`, the deepest.

    Args:
        rows: (N, 2) of `maxima`.
        apart: px.
    """
    from scipy.spatial import KDTree

    stays = np.ones(len(rows), dtype=bool)
    pairs = KDTree(rows.reshape(-1, 2)).query_pairs(apart, output_type="ndarray")
    for deep, shallow in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
        if stays[deep]:
            stays[shallow] = False
    return rows[stays]


def centroids(depth: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the centroids of the regions of the watershed.

    Args:
        depth: (H, W) of `distance_inside`.
        rows: (N, 2) seeds.

    Returns:
        (N, 2) (y, x) px; pixel (i, j) has its centre at (i + 0.5, j + 0.5).
    """
    if not len(rows):
        return np.zeros((0, 2))
    from scipy.ndimage import center_of_mass

    segmentation = import_optional("skimage.segmentation", package="scikit-image", by="Watershed")
    markers = np.zeros(depth.shape, dtype=np.int32)
    numbers = np.arange(1, len(rows) + 1)
    markers[tuple(rows.T)] = numbers
    regions = segmentation.watershed(-depth, markers, mask=depth > 0)
    return np.array(center_of_mass(regions > 0, regions, numbers)) + 0.5


def _found(middles: NDArray[np.floating], radius: NDArray[np.float32], scale: float) -> Found:
    """Convert centres (y, x) and radii, px of the input, to candidates in px of the original."""
    if not len(middles):
        return Found(no_points(), np.zeros(0, dtype=np.float32))
    radius_px = radius / scale
    points = (middles[:, ::-1] / scale).astype(np.float32)
    return Found(points, (radius_px / (1 + radius_px)).astype(np.float32))
