"""Detection of duplicate and near-duplicate images, within a set and across sets.

An image in the training part and again in the test part, recompressed, brightened, rotated or
mirrored, is a leak. Images are compared as small grey thumbnails, whatever their size; pairs that
match are compared again at a finer size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellbench.data.resampling import resample
from cellbench.data.set_writer import Progress
from cellbench.data.splits import SPLITS, make_split
from cellbench.data.stored_set import StoredSet
from cellbench.errors import UserError

# Edges of the thumbnails: the coarse ones find candidates, the fine ones decide.
COARSE_PX = 24
FINE_PX = 96

# Least correlation of duplicates' grey values. No two images of ADI, MBM, VGG or nuclei have more
# than 0.52; a copy as JPEG of quality 10, at half the size or under strong noise has more than 0.9.
ALIKE = 0.8

# Least standard deviation in grey levels; a flatter image has no content to compare.
_FLAT = 1.0

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

# Number of thumbnails that are compared with all others in one matrix product.
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Pair of images with the same content.

    Attributes:
        first: (set, image id).
        second: likewise; another image.
        correlation: of their grey values, 1 for equal pixels.
        splits: those of protocol v1 that put one of them into the training or validation part
            and the other into the test part; empty for images of two sets.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    correlation: float
    splits: tuple[int, ...] = ()


def find_duplicates(
    sets: Sequence[StoredSet], progress: Progress | None = None
) -> list[DuplicatePair]:
    """Find all pairs of images with the same content, within and across sets.

    All eight rotations and reflections of an image are compared, at any brightness and contrast.
    Images that only overlap are not found.

    Args:
        sets: on disk.
        progress: called after every image that was read.

    Returns:
        One `DuplicatePair` per pair, in the order of the sets and their ids; empty for fewer than
        two images.

    Raises:
        UserError: an image cannot be read or has changed.
    """
    names = [(stored.name, image_id) for stored in sets for image_id in stored.ids]
    owners = {stored.name: stored for stored in sets}
    coarse = np.zeros((len(names), COARSE_PX, COARSE_PX), dtype=np.float32)
    fine = np.zeros((len(names), FINE_PX, FINE_PX), dtype=np.float32)
    for index, (name, image_id) in enumerate(names):
        pixels = owners[name].pixels(image_id)
        coarse[index], fine[index] = (_thumbnail(pixels, edge) for edge in (COARSE_PX, FINE_PX))
        if progress is not None:
            progress(index + 1, len(names))
    crossing = {stored.name: _test_parts(stored) for stored in sets}
    pairs = []
    for i, j in _candidates(coarse):
        correlation = _correlation(fine[i], fine[j])
        if correlation >= ALIKE:
            first, second = names[i], names[j]
            parts = crossing[first[0]] if first[0] == second[0] else {}
            splits = tuple(
                split for split, test in parts.items() if (first[1] in test) != (second[1] in test)
            )
            pairs.append(DuplicatePair(first, second, correlation, splits))
    return pairs


def find_copies(stored: StoredSet, other: StoredSet, ids: Sequence[str]) -> list[str]:
    """Find the images of a set whose content some images of another set have too.

    Args:
        stored: set on disk.
        other: set on disk.
        ids: of the images of `other`.

    Returns:
        Ids of images of `stored`, sorted.

    Raises:
        UserError: an image cannot be read or has changed.
    """
    stored_ids, known = stored.ids, sorted(ids)
    if not stored_ids or not known:
        return []
    coarse, fine = [], []
    for pixels in (*map(stored.pixels, stored_ids), *map(other.pixels, known)):
        coarse.append(_thumbnail(pixels, COARSE_PX))
        fine.append(_thumbnail(pixels, FINE_PX))
    found = set()
    for i, j in _candidates(np.stack(coarse)):
        if i < len(stored_ids) <= j and _correlation(fine[i], fine[j]) >= ALIKE:
            found.add(stored_ids[i])
    return sorted(found)


def _thumbnail(pixels: NDArray[np.uint8], edge: int) -> NDArray[np.float32]:
    """Compute grey values of (H, W, 3) pixels at (edge, edge), mean 0 and norm 1; 0 if flat."""
    height, width = pixels.shape[:2]
    small = resample(pixels, box=(0, 0, width, height), size=(edge, edge))
    grey = small.astype(np.float32) @ _LUMA
    grey -= grey.mean()
    if grey.std() < _FLAT:
        return np.zeros_like(grey)
    return grey / np.linalg.norm(grey)


def _orientations(thumbnail: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield thumbnails (..., N, N) in their eight rotations and reflections."""
    for mirrored in (thumbnail, np.flip(thumbnail, -1)):
        for quarters in range(4):
            yield np.rot90(mirrored, quarters, axes=(-2, -1))


def _candidates(thumbnails: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return the pairs i < j that correlate in one of the eight orientations."""
    count = len(thumbnails)
    flat = thumbnails.reshape(count, COARSE_PX**2)
    found: set[tuple[int, int]] = set()
    for start in range(0, count, _BLOCK):
        for turned in _orientations(thumbnails[start : start + _BLOCK]):
            near = turned.reshape(len(turned), COARSE_PX**2) @ flat.T >= ALIKE  # (block, count)
            for i, j in zip(*np.nonzero(near), strict=True):
                if start + i != j:
                    found.add((min(start + int(i), int(j)), max(start + int(i), int(j))))
    return sorted(found)


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return max(float((turned * other).sum()) for turned in _orientations(one))


def _test_parts(stored: StoredSet) -> dict[int, set[str]]:
    """Return the test part of every split; empty if the set cannot be split."""
    try:
        return {split: set(make_split(stored, split=split).test) for split in SPLITS}
    except UserError:
        return {}
