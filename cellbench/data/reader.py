"""Image reader for counting, import and display, of any supported format and bit depth.

The format is detected from the contents, except for vendor files. The reader selects planes,
undoes photometric interpretation, transparency and orientation, fills non-finite values, and maps
intensities to 0..255. A note records each decision.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cellbench.data.decoded import CannotDecodeError, Decoded, Raster
from cellbench.data.hot_pixels import without_hot_pixels
from cellbench.data.images import explained_decoding, opened_picture
from cellbench.data.intensities import IntensityRange, choose_range, to_unit_bytes
from cellbench.data.plain_files import PlainRaster
from cellbench.data.planes import (
    PlaneChoice,
    SelectedPlanes,
    StackPlane,
    choose_planes,
    colour_index,
    stack_plane,
)
from cellbench.data.tiff_files import TiffRaster
from cellbench.data.transparency import blended_with_background
from cellbench.data.turning import oriented, turned_size
from cellbench.data.vendor_files import VendorRaster, is_vendor_file
from cellbench.errors import UserError

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TURNS = {
    2: "mirrored", 3: "turned by 180 degrees", 4: "mirrored", 5: "turned and mirrored",
    6: "turned by 90 degrees", 7: "turned and mirrored", 8: "turned by 270 degrees",
}  # fmt: skip
# Least half width of an intensity range that values can be divided by.
_NARROWEST = 1e-250
INTENSITY_RULE = 1
"""Version of the intensity mapping to 0..1, see `cellbench.data.intensities`."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading images.

    Attributes:
        planes: selection among several planes.
        range: intensities that are mapped to 0 and 1; None to choose them for each image.
        invert: whether to invert the intensities.
    """

    planes: PlaneChoice = field(default_factory=PlaneChoice)
    range: tuple[float, float] | None = None
    invert: bool = False

    def __post_init__(self) -> None:
        if self.range is None:
            return
        low, high = self.range
        if not (isfinite(low) and isfinite(high)):
            raise UserError(f"--range takes two finite numbers, not {low:g} {high:g}.")
        if not high / 2 - low / 2 > _NARROWEST:
            raise UserError(
                f"--range {low:g} {high:g} is empty; name the number that becomes black and a "
                "greater one that becomes white."
            )


DEFAULT_READ_OPTIONS = ReadOptions()
"""Default options: a file with several planes is an error."""


@dataclass(frozen=True, slots=True)
class ReadPicture:
    """Image as counting methods receive it, with a description of its conversion.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        range: intensities that were mapped to 0 and 255.
        pixel_size_um: (x, y) edges of a pixel in micrometres, where the file states them.
        notes: decisions of the reader, as shown to users; empty for a plain 8-bit image.
    """

    pixels: NDArray[np.uint8]
    range: tuple[float, float]
    pixel_size_um: tuple[float, float] | None
    notes: tuple[str, ...]


def read_numbers(
    path: Path, options: ReadOptions
) -> tuple[NDArray[Any], tuple[str, ...], tuple[float, float] | None]:
    """Read an image's intensities before they are mapped to 0..1.

    Returns:
        (H, W) or (H, W, 3) finite numbers; notes; (x, y) pixel size in micrometres or None.

    Raises:
        UserError: see `read_whole`.
    """
    with opened_raster(path, options.planes) as raster:
        return plane_numbers(raster, options.planes)


def plane_numbers(
    raster: Raster, choice: PlaneChoice
) -> tuple[NDArray[Any], tuple[str, ...], tuple[float, float] | None]:
    """Read the intensities of a plane of an open file; see `read_numbers`."""
    chosen, sample = _choose(raster, choice)
    notes = [*raster.notes, *chosen.notes]
    channels = [_projected(raster, places, chosen.project) for places in chosen.colours]
    notes += [note for channel in channels for note in channel.notes]
    if len(channels) == 3:
        values: NDArray[Any] = np.stack([_grey(c.values) for c in channels], axis=2)
        note = ""
    else:
        values, note = blended_with_background(channels[0])
    notes.append(note)
    if sample is not None:
        values = values[:, :, sample] if values.ndim == 3 else values
        notes.append(f"the {('red', 'green', 'blue')[sample]} of its colours")
    if raster.orientation != 1:
        values = oriented(values, raster.orientation)
        notes.append(f"{_TURNS[raster.orientation]} as its orientation states")
    size_um = raster.pixel_size_um
    if size_um is not None and raster.orientation >= 5:
        size_um = (size_um[1], size_um[0])
    values, note = finite(values, raster.name)
    notes.append(note)
    return values, tuple(dict.fromkeys(filter(None, notes))), size_um


def read_whole(path: Path, options: ReadOptions = DEFAULT_READ_OPTIONS) -> ReadPicture:
    """Read a whole image into memory.

    Args:
        path: TIFF, PNG, JPEG, BMP, GIF, WebP, PPM or JPEG 2000 file with any name, or a CZI, ND2
            or LIF file.
        options: options for reading.

    Raises:
        UserError: the file is damaged or not an image, has several planes and none is selected, or
            would take more memory than `limits.PICTURE`; one sentence.
    """
    values, notes, size_um = read_numbers(path, options)
    pixels, mapping, more = mapped(values, options)
    return ReadPicture(pixels, (mapping.low, mapping.high), size_um, (*notes, *more))


def mapped(
    values: NDArray[Any], options: ReadOptions
) -> tuple[NDArray[np.uint8], IntensityRange, tuple[str, ...]]:
    """Map intensities to (H, W, 3) uint8; return pixels, mapping and notes."""
    notes = []
    if options.range is not None:
        mapping = IntensityRange(*options.range)
    else:
        values, hot = without_hot_pixels(values)
        if hot:
            notes.append(f"{hot} hot pixel{'s' if hot > 1 else ''} replaced by the surroundings")
        mapping = choose_range(values)
    if mapping.note:
        notes.append(mapping.note)
    if options.invert:
        notes.append("inverted")
    pixels = to_unit_bytes(values, mapping, invert=options.invert)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels), mapping, tuple(notes)


def size_of(path: Path, options: ReadOptions = DEFAULT_READ_OPTIONS) -> tuple[int, int]:
    """Return (width, height) in px of the image that `read_whole` reads, from metadata alone.

    Raises:
        UserError: as `read_whole`, except for damage after the header.
    """
    with opened_raster(path, options.planes) as raster:
        _choose(raster, options.planes)
        return turned_size(raster.size, raster.orientation)


def plane_of(path: Path, choice: PlaneChoice) -> StackPlane:
    """Return the position in its file of the plane that `read_whole` reads.

    Raises:
        UserError: as `size_of`.
    """
    with opened_raster(path, choice) as raster:
        return stack_plane(raster.axes, _choose(raster, choice)[0])


@contextmanager
def opened_raster(path: Path, choice: PlaneChoice) -> Iterator[Raster]:
    """Open an image file; decoder exceptions become one-sentence errors.

    Raises:
        UserError: the file does not exist, is damaged or is not an image.
    """
    with opened_picture(path) as stream, explained_decoding(str(path)):
        magic = stream.read(8)
        stream.seek(0)
        if is_vendor_file(path, magic):
            yield VendorRaster(path)
            return
        if magic[:4] not in _TIFF:
            yield PlainRaster(stream, name=str(path))
            return
        try:
            raster: Raster = _TiffWithFallback(stream, str(path), picture_number(choice))
        except CannotDecodeError:
            stream.seek(0)
            yield PlainRaster(stream, name=str(path))
            return
        try:
            yield raster
        finally:
            raster.close()


class _TiffWithFallback(TiffRaster):
    """TIFF image that Pillow decodes if tifffile cannot and the file has a single plane."""

    def __init__(self, stream: BinaryIO, name: str, series: int | None) -> None:
        super().__init__(stream, name=name, series=series)
        self._stream = stream

    def plane(self, index: Any) -> Decoded:
        try:
            return super().plane(index)
        except CannotDecodeError:
            if any(length > 1 for length in self.axes.values()) or len(self._file.pages) > 1:
                raise
            self._stream.seek(0)
            return PlainRaster(self._stream, name=self.name).plane({})


def picture_number(choice: PlaneChoice) -> int | None:
    """Return the index from 0 that `--page` gives of several images in a file; None without one."""
    text = (choice.page or "").strip()
    return int(text) - 1 if text.isascii() and text.isdecimal() and int(text[:9]) > 0 else None


def choice_of_planes(raster: Raster, choice: PlaneChoice) -> PlaneChoice:
    """Return the plane selection within one image: without page if `--page` selected the image."""
    several = any(length > 1 for length in raster.axes.values())
    if raster.pictures > 1 and not several:
        return PlaneChoice(channel=choice.channel)
    return choice


def _choose(raster: Raster, choice: PlaneChoice) -> tuple[SelectedPlanes, int | None]:
    axes = dict(raster.axes)
    several = {letter for letter, length in axes.items() if length > 1}
    chosen = choose_planes(
        axes,
        choice_of_planes(raster, choice),
        name=raster.name,
        channel_names=raster.channel_names,
        colour=raster.colour,
    )
    sample = None
    if raster.colour and "C" not in several:
        sample = colour_index(choice, raster.name)
    return chosen, sample


def _projected(raster: Raster, places: Any, project: str | None) -> Decoded:
    """Decode the planes at `places` and reduce them to one."""
    if project is None:
        return raster.plane(places[0])
    notes: dict[str, None] = {}
    planes = []
    total: NDArray[Any] | None = None
    for place in places:
        plane = raster.plane(place)
        values, note = blended_with_background(plane)
        notes |= dict.fromkeys(filter(None, (*plane.notes, note)))
        if project == "median":
            planes.append(values)
        elif total is None:
            total = values.astype(np.float64) if project == "mean" else values
        elif project == "mean":
            total += values
        else:
            total = np.fmax(total, values) if project == "max" else np.fmin(total, values)
    if planes:
        total = np.median(np.stack(planes), axis=0)
    elif project == "mean" and total is not None:
        total = total / len(places)
    assert total is not None
    return Decoded(total, notes=tuple(notes))


def _grey(values: NDArray[Any]) -> NDArray[Any]:
    return values if values.ndim == 2 else values.mean(axis=2)


def finite(
    values: NDArray[Any], name: str, *, empty: float | None = None
) -> tuple[NDArray[Any], str]:
    """Replace non-finite values by the nearest finite one, which creates no edges.

    Args:
        values: (H, W) or (H, W, 3).
        name: name of the file, for messages.
        empty: fill value for an image without finite values; None to raise an error.

    Returns:
        Finite values, the same array if all were finite; a note, empty if nothing was filled.

    Raises:
        UserError: no value is finite and `empty` is None.
    """
    if values.dtype.kind != "f":
        return values, ""
    bad = ~np.isfinite(values)
    if not bad.any():
        return values, ""
    if bad.all() and empty is not None:
        return np.full_like(values, empty), ""
    if bad.all():
        raise UserError(f"{name} holds no finite number; there is nothing to count.")
    from scipy.ndimage import distance_transform_edt

    filled = values.copy()
    for channel in range(values.shape[2]) if values.ndim == 3 else (...,):
        plane = filled[..., channel] if values.ndim == 3 else filled
        invalid = bad[..., channel] if values.ndim == 3 else bad
        if invalid.all():
            plane[...] = 0
        elif invalid.any():
            nearest = distance_transform_edt(invalid, return_distances=False, return_indices=True)
            plane[invalid] = plane[tuple(nearest)][invalid]
    pixels = bad.any(axis=2) if bad.ndim == 3 else bad
    return filled, f"{int(pixels.sum())} px are no numbers and were filled from their surroundings"
