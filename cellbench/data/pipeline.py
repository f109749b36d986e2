"""Loading of images for training and scoring: source, cache and prefetching."""

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

# The four sets of the literature take 5 to 60 MB decoded: they fit many times over.
CACHE_BYTES = 1 << 30


class AnnotatedImages(Protocol):
    """A data set in its canonical form, as far as loading needs it."""

    @property
    def ids(self) -> Sequence[str]:
        """The image ids, sorted."""

    def sample(self, image_id: str, /) -> CellSample:
        """The annotation of an image."""

    def pixels(self, image_id: str, /) -> NDArray[np.uint8]:
        """The decoded image, (H, W, 3) uint8 RGB."""


class PreparedImages:
    """A data set whose images are prepared as a whole, the same way in training and in scoring."""

    def __init__(self, stored: AnnotatedImages, transforms: Sequence[Transform]) -> None:
        """Remember how images are prepared.

        Args:
            stored: the data set.
            transforms: applied in order; they draw nothing, and leave size and points alone.
        """
        self.stored = stored
        self.transforms = tuple(transforms)

    @property
    def ids(self) -> Sequence[str]:
        """The image ids, sorted."""
        return self.stored.ids

    def sample(self, image_id: str, /) -> CellSample:
        """The annotation of an image."""
        return self.stored.sample(image_id)

    def pixels(self, image_id: str, /) -> NDArray[np.uint8]:
        """The prepared image, (H, W, 3) uint8 RGB.

        Raises:
            UserError: a transform changed the size or gave other values than uint8.
        """
        picture = Picture(self.stored.pixels(image_id), self.sample(image_id).points)
        return prepared_pixels(picture, self.transforms)


def prepared_pixels(whole: Picture, transforms: Sequence[Transform]) -> NDArray[np.uint8]:
    """A whole image as `data.prepare` makes it, (H, W, 3) uint8 RGB.

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
    """Arrays by image id, made on first use and kept while they fit into a budget.

    What doesn't fit is made again each time: slower, never wrong. The arrays are read-only.

    Attributes:
        make: image id -> array.
        budget_bytes: most that is kept.
    """

    make: Callable[[str], NDArray[np.generic]]
    budget_bytes: int = CACHE_BYTES
    _kept: dict[str, NDArray[np.generic]] = field(default_factory=dict, init=False, repr=False)
    _kept_bytes: int = field(default=0, init=False)

    def __call__(self, image_id: str) -> NDArray[np.generic]:
        """The array of an image."""
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
        """Travel to a worker process empty: decoding is cheaper than sending."""
        return PixelCache, (self.make, self.budget_bytes)


def look_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int = 3, threads: int = 1
) -> Iterator[Result]:
    """`map`, computed in background threads while the caller works on earlier results.

    Resizing and decoding happen outside Python's lock, so the caller hardly notices. An error
    is raised where its result would have come; closing the iterator stops the threads.

    Args:
        function: called in the order of the items, of several threads at once.
        items: finite or not.
        ahead: how many results may wait.
        threads: how many compute.
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
    """The annotations of a part of a set, by id, in the order given.

    Read once: a set on disk checks a file each time that it reads it.

    Raises:
        UserError: there are none, or the set does not have one of them.
    """
    chosen = list(ids)
    if not chosen:
        raise UserError(
            f"The {part} part has no image; choose a protocol or a split that gives it some."
        )
    strangers = sorted(set(chosen) - set(stored.ids))
    if strangers:
        raise UserError(
            f"The {part} part names {strangers[0]!r}, which is none of the {len(stored.ids)} "
            "images of the set; verify the set and its split."
        )
    return {image_id: stored.sample(image_id) for image_id in chosen}
