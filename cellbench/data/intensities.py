"""Scaling of pixel values to 0..1: one rule for all types, bit depths and colours.

The values alone decide, not the type that holds them: 0..12 is the same image in 8 and in 16 bits
and as floats.

1. Values that are all multiples of one step (an 8-bit image times 257, 12 bits in the upper end of
   16) are divided by it. Signed integers are shifted to start at 0, and so are floats that are
   clearly negative.
2. 1 is the greatest value of the least depth (8 bits or more) that holds the image: 255, 511, ...
   Fractions up to 1 are kept. An 8-bit image thus becomes value / 255, as in the published sets.
3. An image that uses little of that depth (a sixteenth of 8 bits, a quarter of more) is stretched
   to four fifths of the range, as long as its noise does not exceed 2 of 255. An image in which
   nothing stands out of the noise is blank and never stretched: its noise is kept below 1.

The range in use is measured without a twentieth of the pixels at either end, and on blobs without
the strongest tenth: neither a hot pixel nor dirt changes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.scale_space import Blobs, find_blobs, noise_deviation

# Steps of 8 bits in 16, and of 12, 10 or 14 bits in the upper end of 16.
_STEPS = (257, 256, 64, 16, 4)
_EXACT = 0.999
_SAMPLED = 1 << 20
# Edge of the windows that blobs are detected in, and their greatest number along an edge.
_WINDOW = 320
_WINDOWS = 3
_DIM_8, _DIM_MORE = 1 / 16, 1 / 4
_STRETCHED = 0.8
_NOISE, _BLANK_NOISE = 2 / 255, 1 / 255
# Standard deviation of the error of rounding to whole numbers: sqrt(1/12).
_ROUNDING = 0.29
# Level of the background of a stretched image, which leaves room for values on both sides.
_DARK_GROUND, _BRIGHT_GROUND = 0.1, 0.9
_BLANK_BLOBS = 3
# Share of the pixels at either end that is not part of the range.
_TAIL = 0.05
# An 8-bit image with this range is neither dim nor blank, whatever else it holds.
_PLAIN = 24
_BAND = 1 << 20


@dataclass(frozen=True, slots=True)
class IntensityRange:
    """Range of an image's values that is mapped to 0..1.

    Attributes:
        low: mapped to 0.
        high: mapped to 1.
        note: reason for a range that the type does not suggest; else empty.
    """

    low: float
    high: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Levels:
    """Levels of an image, in multiples of its step.

    Attributes:
        low: least value in use.
        high: greatest value in use.
        noise: standard deviation of the noise.
        ground: value of the background.
        blank: whether nothing stands out of the noise.
    """

    low: float
    high: float
    noise: float
    ground: float
    blank: bool

    @property
    def span(self) -> float:
        """Width of the range in use."""
        return self.high - self.low


def choose_range(values: NDArray[Any]) -> IntensityRange:
    """Choose the range of an image by the rule of this module.

    Args:
        values: (H, W) or (H, W, 3) of any numeric type, finite.
    """
    height, width = values.shape[:2]
    return choose_sampled_range(
        _sample(values), lambda: [values[y, x] for y, x in windows_of(height, width)]
    )


def choose_sampled_range(
    sample: NDArray[Any], windows: Callable[[], list[NDArray[Any]]]
) -> IntensityRange:
    """Choose the range of an image from a sample of its pixels.

    Args:
        sample: (h, w) or (h, w, 3), pixels from all over the image.
        windows: returns contiguous parts of the image, see `windows_of`.
    """
    shift, step = _origin(sample)
    if sample.dtype == np.uint8 and _is_plain(sample):
        return IntensityRange(0.0, 255.0)
    planes = [_canonical(window, shift, step) for window in windows()]
    levels = _measure(planes, _canonical(sample, shift, step))
    whole = _are_whole(sample)
    # Clearly negative floats are shifted to start at 0; noise about zero is not.
    start = levels.low if levels.low < -0.1 * levels.span else 0.0
    white = _white(levels.high - start, whole)
    dim = _DIM_8 if white == 255 else _DIM_MORE
    if levels.blank:
        chosen = _blank_range(levels, start, white)
    elif 0 < levels.span * (1.0 / white) < dim:
        chosen = _dim_range(levels, white, _ROUNDING if whole else 0.0)
    else:
        chosen = _range_from(start, 1.0 / white)
    return IntensityRange(chosen.low * step - shift, chosen.high * step - shift, chosen.note)


def _range_from(low: float, gain: float, note: str = "") -> IntensityRange:
    """Return the range that starts at `low` and whose values are multiplied by `gain`."""
    return IntensityRange(low, low + 1.0 / gain, note)


def _blank_range(levels: _Levels, start: float, white: float) -> IntensityRange:
    """Return the range of a blank image, widened where its noise would exceed 1 of 255."""
    note, gain = "nothing stands out of the noise", 1.0 / white
    if levels.noise * gain > _BLANK_NOISE:
        gain = _BLANK_NOISE / levels.noise
    if gain < 1.0 / white:  # scale about the background, which keeps its level
        start = levels.ground - levels.ground / white / gain
    return _range_from(start, gain, note)


def _dim_range(levels: _Levels, white: float, rounding: float) -> IntensityRange:
    """Return the range of an image that uses little of its depth, narrowed to stretch it."""
    noise = max(levels.noise, rounding, levels.span / 1000)
    gain = max(1.0 / white, min(_STRETCHED / levels.span, _NOISE / noise))
    bright = levels.high - levels.ground >= levels.ground - levels.low
    level = _DARK_GROUND if bright else _BRIGHT_GROUND
    return _range_from(levels.ground - level / gain, gain, "dim, its range was stretched")


def to_unit_bytes(
    values: NDArray[Any], mapping: IntensityRange, *, invert: bool
) -> NDArray[np.uint8]:
    """Map values to 0..255, band by band.

    Args:
        values: (H, ...) of any type, finite.
        mapping: range that becomes 0..255; values beyond it are clipped.
        invert: whether bright and dark are swapped.
    """
    if values.dtype == np.uint8 and (mapping.low, mapping.high) == (0.0, 255.0):
        return np.uint8(255) - values if invert else np.array(values)
    out = np.empty(values.shape, np.uint8)
    rows = max(1, _BAND // max(1, int(np.prod(values.shape[1:]))))
    for top in range(0, len(values), rows):
        band = values[top : top + rows].astype(np.float64)
        # Halved first, so that a range as wide as the type's does not overflow.
        unit = (band / 2 - mapping.low / 2) / (mapping.high / 2 - mapping.low / 2)
        np.clip(unit, 0, 1, out=unit)
        out[top : top + rows] = np.rint((1 - unit if invert else unit) * 255)
    return out


def _origin(sample: NDArray[Any]) -> tuple[float, int]:
    """Return the shift to add to the values, and the step that they are then multiples of."""
    kind, size = sample.dtype.kind, sample.dtype.itemsize
    shift = 0.0
    if kind == "i" and np.quantile(sample, _TAIL) < 0:
        shift = float(2 ** (8 * size - 1))
    if kind in "iu" and 1 < size < 8:
        numbers = sample.astype(np.int64) + int(shift)
        for step in _STEPS:
            if numbers.max() >= 16 * step and (numbers % step == 0).mean() >= _EXACT:
                return shift, step
    return shift, 1


def _canonical(values: NDArray[Any], shift: float, step: int) -> NDArray[np.float64]:
    return (values.astype(np.float64) + shift) / step


def _is_plain(sample: NDArray[np.uint8]) -> bool:
    """Return whether an 8-bit image clearly uses its range and is not blank; a quick test."""
    channels = sample.reshape(-1, sample.shape[-1] if sample.ndim == 3 else 1)
    for channel in channels.T:
        low, high = np.quantile(channel, [0.02, 0.98])
        if high - low >= _PLAIN:
            return True
    return False


def _measure(planes: list[NDArray[np.float64]], sample: NDArray[np.float64]) -> _Levels:
    """Measure the levels of an image.

    Args:
        planes: contiguous parts of it, in which noise and blobs are found.
        sample: pixels from all over it.
    """
    colours = sample.reshape(-1, sample.shape[-1] if planes[0].ndim == 3 else 1)
    lows, highs = np.quantile(colours, [_TAIL, 1 - _TAIL], axis=0)
    low, high, ground = float(lows.min()), float(highs.max()), float(np.median(colours))
    noise, significant = 0.0, 0
    for channel in range(planes[0].shape[2] if planes[0].ndim == 3 else 1):
        parts = [plane[:, :, channel] if plane.ndim == 3 else plane for plane in planes]
        deviations = [noise_deviation(part) for part in parts]
        deviation = max(float(np.median(deviations)), 1e-12)
        middle = float(np.median(parts[0]))
        found = [find_blobs(plane, noise=deviation) for plane in parts]
        for sign, side in ((1, 0), (-1, 1)):
            typical = _merge([pair[side] for pair in found]).typical()
            significant = max(significant, len(typical.contrast))
            if len(typical.contrast):
                reach = middle + sign * float(np.quantile(typical.contrast, 0.9))
                low, high = min(low, max(reach, 0.0)), max(high, reach)
        noise = max(noise, deviation)
    return _Levels(low, high, noise, ground, blank=significant < _BLANK_BLOBS)


def _merge(found: list[Blobs]) -> Blobs:
    points = np.concatenate([blobs.points for blobs in found])
    contrast = np.concatenate([blobs.contrast for blobs in found])
    width = np.concatenate([blobs.width_px for blobs in found])
    order = np.argsort(-contrast, kind="stable")
    return Blobs(points[order], contrast[order], width[order])


def _white(high: float, whole: bool) -> float:
    """Return the greatest value of the least depth that holds `high`; 1 for fractions up to 1."""
    if not whole and high <= 1.0:
        return 1.0
    bits = 8
    while 2.0**bits - 1 < high and bits < 64:
        bits += 1
    return 2.0**bits - 1


def _are_whole(sample: NDArray[Any]) -> bool:
    if sample.dtype.kind in "iub":
        return True
    return bool(np.isclose(sample, np.rint(sample)).mean() >= _EXACT)


def _sample(values: NDArray[Any]) -> NDArray[Any]:
    """Return pixels on a regular grid, a million at most."""
    stride = 1
    while (values.shape[0] // stride) * (values.shape[1] // stride) > _SAMPLED:
        stride += 1
    return values[::stride, ::stride]


def windows_of(height: int, width: int) -> list[tuple[slice, slice]]:
    """Return rows and columns of windows spread evenly over an image; all of a small one."""
    if height * width <= _WINDOW**2 * _WINDOWS:
        return [(slice(0, height), slice(0, width))]

    def parts(length: int) -> list[slice]:
        number = min(_WINDOWS, -(-length // _WINDOW))
        starts = np.linspace(0, max(0, length - _WINDOW), number).astype(int)
        return [slice(int(start), min(int(start) + _WINDOW, length)) for start in starts]

    return [(y, x) for y in parts(height) for x in parts(width)]
