"""What the readers of file formats share: a raster of planes, and a plane as it was stored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


class CannotDecodeError(Exception):
    """A reader has no decoder for a file; another one may have."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A plane: its numbers with their photometric interpretation undone.

    Attributes:
        values: (H, W) grey or (H, W, 3) colour, of any type of numbers; more is brighter.
        alpha: (H, W) float32 in 0..1; None where all is opaque.
        premultiplied: whether the numbers are multiplied by alpha.
        notes: what was decided, in words.
    """

    values: NDArray[Any]
    alpha: NDArray[Any] | None = None
    premultiplied: bool = False
    notes: tuple[str, ...] = ()


class Raster(ABC):
    """The picture of a file, plane by plane.

    Attributes:
        name: of the file, for messages.
        size: (width, height) px as stored.
        axes: length by letter of what is not the plane itself.
        colour: whether a plane has red, green and blue.
        channel_names: of the axis C, where the file has them.
        pixel_size_um: (x, y) edges of a pixel in micrometres, where the file has them.
        orientation: of EXIF, 1 to 8.
        notes: what was decided, in words.
    """

    name: str
    size: tuple[int, int]
    axes: dict[str, int]
    colour: bool
    channel_names: Sequence[str] = ()
    pixel_size_um: tuple[float, float] | None = None
    orientation: int = 1
    notes: list[str]

    @abstractmethod
    def plane(self, index: Mapping[str, int]) -> Decoded:
        """Decode the plane at an index by letter of `axes`."""

    @abstractmethod
    def close(self) -> None:
        """Close what is open."""
