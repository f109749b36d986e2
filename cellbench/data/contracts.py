"""The contracts of data sets, simulators and transforms."""

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
    """One annotated image as its authors distribute it.

    Attributes:
        image_id: unique in the set, safe as a file name.
        image: file of the picture, or the file that holds it with others.
        annotation: file of the dots; None where the partner is missing.
        part: "train" or "test" where the set is distributed in parts.
        group: what images may share (a donor, a slide), where it is known.
        index: place of the picture in a file that holds several; None for a file of its own.
    """

    image_id: str
    image: Path
    annotation: Path | None
    part: str | None = None
    group: str | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """Where a raw copy can be downloaded.

    Attributes:
        url: http or https.
        sha256: of the archive, where it is known; the per-file manifest decides in any case.
        size: in bytes, where it is known.
    """

    url: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ReadPoints:
    """What an annotation holds.

    Attributes:
        points: (N, 2) float32, (x, y) px.
        notes: what was assumed, one sentence each (polarity, half-pixel shift).
    """

    points: Points
    notes: tuple[str, ...] = ()


class DataSet(ABC):
    """A data set: its raw layout and its dots, and of its protocol constants those that it has.

    The match radius stands in the set's config, `configs/datasets/<name>.py`.

    Attributes:
        name: lower case, the name users type, under which it is registered.
        title: as the literature writes it; by default its name.
        summary: one line for `cellbench data list`.
        images: number of images as distributed; None where any number may come.
        count: mean and standard deviation of cells an image, as distributed; None if not known.
        parts: sizes of train, validation and test under v1; a test of None is the set's own.
            Without sizes 60, 20 and 20 % of the images are taken, whole groups at a time.
        by_group: whether `parts` counts groups of images, which no split divides.
        folds_below: of a set without sizes of parts, the number of images below which the five
            splits are folds: each image is in one test part.
        archives: where to fetch it, tried in order; empty if it cannot be fetched.
        instructions: how to get it where it cannot be fetched; one sentence.
        simulator: registered name of the simulator that stands in for it; empty if none does.
        manifest: relative name, inside the plugin package, of the shipped per-file SHA-256 list;
            None where no copy was available to us.
        shipped: relative name, inside the plugin package, of the set in its canonical form; None
            where its licence forbids to pass it on.
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
        """Title a set by its name where it states no title."""
        super().__init_subclass__(**options)
        if not hasattr(cls, "title") and hasattr(cls, "name"):
            cls.title = cls.name

    @abstractmethod
    def scan(self, folder: Path) -> list[RawItem]:
        """Find the annotated images below a folder of the raw copy.

        Raises:
            UserError: nothing there looks like this set.
        """

    def read_picture(self, item: RawItem) -> NDArray[np.uint8]:
        """Read an image that has no file of its own; only sets with such images need it.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            UserError: it cannot be read.
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
    """A generated picture with its exact truth.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        points: (N, 2) float32, (x, y) px, all inside the picture.
        part: "train" or "test" where the real set is distributed in parts.
        group: donor or slide, where the real set has them.
    """

    pixels: NDArray[np.uint8]
    points: Points
    part: str | None = None
    group: str | None = None


class Simulator(ABC):
    """Draws images with the appearance, sizes and counts of a real set.

    Attributes:
        name: the real set's with `-sim`.
        title: for people.
        images: how many a whole set has.
        stands_for: name of the real set; protocol constants are taken from it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    images: ClassVar[int]
    stands_for: ClassVar[str]

    @abstractmethod
    def draw(self, index: int, *, seed: int = 0) -> SimulatedImage:
        """Draw image `index` of a set; the same index and seed give the same pixels."""

    def image_id(self, index: int) -> str:
        """The id of image `index`."""
        return f"{index:04d}"


@dataclass(slots=True)
class Picture:
    """A decoded image and its points, on their way through the augmentations.

    Attributes:
        pixels: (H, W, 3) uint8 in 0..255, or float32 in 0..1.
        points: (N, 2) float32, (x, y) px of `pixels`.
        scale: px of `pixels` per px of the original image, where one scale serves both axes.
        notes: numbers by which a transform tells what it drew.
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
    """One augmentation: returns a new Picture and leaves its argument alone."""

    @abstractmethod
    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Change pixels and points together.

        Args:
            picture: as decoded, or as the transform before left it.
            rng: the only source of chance.
        """
