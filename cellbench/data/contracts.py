"""Base classes of data sets, simulators and transforms, and the records they exchange."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellbench.structures import Points


@dataclass(frozen=True, slots=True)
class RawItem:
    """Annotated image as its authors distribute it.

    Attributes:
        image_id: unique in the set, safe as a file name.
        image: file of the image, or of several images.
        annotation: file of the dots; None if it is missing.
        part: "train" or "test" where the set is distributed in parts.
        group: id that related images share (of a donor, a slide); None if unknown.
        index: position in a file of several images; None for a file of its own.
    """

    image_id: str
    image: Path
    annotation: Path | None
    part: str | None = None
    group: str | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """Download address of a raw copy.

    Attributes:
        url: http or https.
        sha256: of the archive, if known; the per-file manifest decides in any case.
        size: in bytes, if known.
    """

    url: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ReadPoints:
    """Points read from an annotation.

    Attributes:
        points: (N, 2) float32, (x, y) px.
        notes: assumptions, one sentence each (polarity, half-pixel shift).
    """

    points: Points
    notes: tuple[str, ...] = ()


class DataSet(ABC):
    """Data set: its raw layout, its annotations, and those protocol constants that it has.

    The match radius is in the set's config, `configs/datasets/<name>.py`.

    Attributes:
        name: lower case, the name users type, under which it is registered.
        title: as in the literature; by default its name.
        summary: one line for `cellbench data list`.
        images: number of images as distributed; None if it varies.
        count: mean and standard deviation of cells per image, as distributed; None if unknown.
        parts: sizes of train, validation and test under v1; a test of None is the set's own.
            Without sizes 60, 20 and 20 % of the images are taken, whole groups at a time.
        by_group: whether `parts` counts groups of images, which no split divides.
        folds_below: of a set without sizes of parts, the number of images below which the five
            splits are folds: each image is in one test part.
        archives: addresses to fetch it from, tried in order; empty if it cannot be fetched.
        instructions: how to get it where it cannot be fetched; one sentence.
        simulator: registered name of the simulator that stands in for it; empty if none does.
        manifest: path, inside the plugin package, of the shipped per-file SHA-256 list; None where
            no copy was available to us.
        shipped: path, inside the plugin package, of the set in its canonical form; None where its
            licence forbids redistribution.
        licence: under which its images may be used; None where its authors state none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str] = ""
    images: ClassVar[int | None] = None
    count: ClassVar[tuple[float, float] | None] = None
    parts: ClassVar[tuple[int, int, int | None] | None] = None
    by_group: ClassVar[bool] = False
    folds_below: ClassVar[int] = 0
    archives: ClassVar[tuple[Archive, ...]] = ()
    instructions: ClassVar[str] = ""
    simulator: ClassVar[str] = ""
    manifest: ClassVar[Path | None] = None
    shipped: ClassVar[Path | None] = None
    licence: ClassVar[str | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Use the name as the title of a set that states none."""
        super().__init_subclass__(**options)
        if not hasattr(cls, "title") and hasattr(cls, "name"):
            cls.title = cls.name

    @abstractmethod
    def scan(self, folder: Path) -> list[RawItem]:
        """Find the annotated images below a folder of the raw copy.

        Raises:
            UserError: no files of this set are found.
        """

    def read_picture(self, item: RawItem) -> NDArray[np.uint8]:
        """Read an image that has no file of its own; only sets with such images need it.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            UserError: the image cannot be read.
        """
        raise NotImplementedError

    @abstractmethod
    def read_annotation(self, item: RawItem, *, size: tuple[int, int]) -> ReadPoints:
        """Read the dots of one image.

        Args:
            item: from `scan`.
            size: (width, height) of its picture in px.

        Raises:
            UserError: the annotation does not fit the picture or cannot be read.
        """


@dataclass(frozen=True, slots=True)
class SimulatedImage:
    """Generated image with its exact ground truth.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        points: (N, 2) float32, (x, y) px, all inside the image.
        part: "train" or "test" where the real set is distributed in parts.
        group: donor or slide, where the real set has them.
    """

    pixels: NDArray[np.uint8]
    points: Points
    part: str | None = None
    group: str | None = None


class Simulator(ABC):
    """Generator of images with the appearance, sizes and counts of a real set.

    Attributes:
        name: the real set's with `-sim`.
        title: shown to users.
        images: number of images in a whole set.
        stands_for: name of the real set, whose protocol constants are used.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    images: ClassVar[int]
    stands_for: ClassVar[str]

    @abstractmethod
    def draw(self, index: int, *, seed: int = 0) -> SimulatedImage:
        """Draw image `index` of a set; the same index and seed give the same pixels."""

    def image_id(self, index: int) -> str:
        """Return the id of image `index`."""
        return f"{index:04d}"


@dataclass(slots=True)
class Picture:
    """Decoded image and its points, as transforms take and return them.

    Attributes:
        pixels: (H, W, 3) uint8 in 0..255, or float32 in 0..1.
        points: (N, 2) float32, (x, y) px of `pixels`.
        scale: px of `pixels` per px of the original image, where one scale serves both axes.
        notes: random numbers that transforms drew, by name.
    """

    pixels: NDArray[np.generic]
    points: Points
    scale: float = 1.0
    notes: Mapping[str, float] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in px."""
        return self.pixels.shape[1], self.pixels.shape[0]


class Transform(ABC):
    """Augmentation that returns a new `Picture` and leaves its argument unchanged."""

    @abstractmethod
    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Change pixels and points together.

        Args:
            picture: as decoded, or as the previous transform returned it.
            rng: the only source of randomness.
        """
