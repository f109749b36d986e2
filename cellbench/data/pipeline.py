"""Load images for training and evaluation: source, cache and prefetching."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cellbench.data.contracts import Picture, Transform
from cellbench.errors import UserError
from cellbench.structures import CellSample

Item = TypeVar("Item")
Result = TypeVar("Result")

# The four sets of the literature take 5 to 60 MB decoded, far less than this.
CACHE_BYTES = 1 << 30


class AnnotatedImages(Protocol):
    """Interface of an annotated data set that images are loaded from."""

    @property
    def ids(self) -> Sequence[str]:
        """Image ids, sorted."""

    def sample(self, image_id: str, /) -> CellSample:
        """Return the annotation of an image."""

    def pixels(self, image_id: str, /) -> NDArray[np.uint8]:
        """Return the decoded image, (H, W, 3) uint8 RGB."""


class PreparedImages:
    """Data set with deterministic transforms of whole images, for training and evaluation alike."""

    def __init__(self, stored: AnnotatedImages, transforms: Sequence[Transform]) -> None:
        """Wrap a data set.

        Args:
            stored: the data set.
            transforms: applied in order; they are not random, and keep size and points.
        """
        self.stored = stored
        self.transforms = tuple(transforms)

    @property
    def ids(self) -> Sequence[str]:
        """Image ids, sorted."""
        return self.stored.ids

    def sample(self, image_id: str, /) -> CellSample:
        """Return the annotation of an image."""
        return self.stored.sample(image_id)

    def pixels(self, image_id: str, /) -> NDArray[np.uint8]:
        """Return the prepared image, (H, W, 3) uint8 RGB.

        Raises:
            UserError: a transform changed the size or gave other values than uint8.
        """
        picture = Picture(self.stored.pixels(image_id), self.sample(image_id).points)
        return prepared_pixels(picture, self.transforms)


def prepared_pixels(whole: Picture, transforms: Sequence[Transform]) -> NDArray[np.uint8]:
    """Apply the transforms of `data.prepare` to a whole image; return (H, W, 3) uint8 RGB.

    Raises:
        UserError: a transform changed the size or gave other values than uint8.
    """
    picture = whole
    for transform in transforms:
        picture = transform(picture, np.random.default_rng(0))
        if picture.size != whole.size or picture.pixels.dtype != np.uint8:
            raise UserError(
                f"data.prepare: {type(transform).__name__} gave {picture.size} px of "
                f"{picture.pixels.dtype} for {whole.size} px of uint8; here belong transforms "
                "that change colours alone, and others into data.augment."
            )
    return cast("NDArray[np.uint8]", picture.pixels)


@dataclass
class PixelCache:
    """Cache of read-only arrays by image id, limited to a memory budget.

    An array beyond the budget is computed again at each call.

    Attributes:
        make: image id -> array.
        budget_bytes: memory limit of the cache.
    """

    make: Callable[[str], NDArray[np.generic]]
    budget_bytes: int = CACHE_BYTES
    _kept: dict[str, NDArray[np.generic]] = field(default_factory=dict, init=False, repr=False)
    _kept_bytes: int = field(default=0, init=False)

    def __call__(self, image_id: str) -> NDArray[np.generic]:
        """Return the array of an image, cached or computed."""
        kept = self._kept.get(image_id)
        if kept is not None:
            return kept
        array = self.make(image_id).view()
        array.flags.writeable = False
        if self._kept_bytes + array.nbytes <= self.budget_bytes:
            self._kept[image_id] = array
            self._kept_bytes += array.nbytes
        return array

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the cached arrays: a worker decodes them faster than they are sent."""
        return PixelCache, (self.make, self.budget_bytes)


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int = 3, threads: int = 1
) -> Iterator[Result]:
    """Yield `function(item)` in order, computed ahead of use in background threads.

    Resizing and decoding release Python's lock, so they hardly slow the caller. An error is raised
    in place of its result; closing the iterator stops the threads.

    Args:
        function: called in the order of the items, by several threads at once.
        items: finite or infinite.
        ahead: number of results prepared in advance.
        threads: number of threads.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="cellbench-loader")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def read_samples(
    stored: AnnotatedImages, ids: Iterable[str], *, part: str
) -> dict[str, CellSample]:
    """Load the annotations of a part of a set, by id, in the order given.

    Callers keep the result: a set on disk verifies a file's hash at each read.

    Raises:
        UserError: `ids` is empty, or the set lacks one of them.
    """
    chosen = list(ids)
    if not chosen:
        raise UserError(
            f"The {part} part has no image; choose a protocol or a split that gives it some."
        )
    unknown = sorted(set(chosen) - set(stored.ids))
    if unknown:
        raise UserError(
            f"The {part} part names {unknown[0]!r}, which is none of the {len(stored.ids)} "
            "images of the set; verify the set and its split."
        )
    return {image_id: stored.sample(image_id) for image_id in chosen}
