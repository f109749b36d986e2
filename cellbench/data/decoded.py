"""Interface of the readers of image formats: a raster of planes, and a decoded plane."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


class CannotDecodeError(Exception):
    """Error of a reader that has no decoder for a file; another reader may have one."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Decoded plane, with its photometric interpretation undone.

    Attributes:
        values: (H, W) grey or (H, W, 3) colour, of any numeric type; more is brighter.
        alpha: (H, W) float32 in 0..1; None if all is opaque.
        premultiplied: whether `values` are multiplied by alpha.
        notes: decisions made in reading, one phrase each.
    """

    values: NDArray[Any]
    alpha: NDArray[Any] | None = None
    premultiplied: bool = False
    notes: tuple[str, ...] = ()


class Raster(ABC):
    """Image of a file, read plane by plane.

    Attributes:
        name: of the file, for messages.
        size: (width, height) px as stored.
        axes: lengths, by letter, of the axes other than the plane's own.
        colour: whether a plane has red, green and blue.
        channel_names: of the axis C, where the file states them.
        pixel_size_um: (x, y) edges of a pixel in micrometres, where the file states them.
        orientation: of EXIF, 1 to 8.
        pictures: number of images in the file, of which this is one.
        notes: decisions made in reading, one phrase each.
    """

    name: str
    size: tuple[int, int]
    axes: dict[str, int]
    colour: bool
    channel_names: Sequence[str] = ()
    pixel_size_um: tuple[float, float] | None = None
    orientation: int = 1
    pictures: int = 1
    notes: list[str]

    @abstractmethod
    def plane(self, index: Mapping[str, int]) -> Decoded:
        """Decode the plane at an index for each letter of `axes`."""

    @abstractmethod
    def close(self) -> None:
        """Close the open files."""
