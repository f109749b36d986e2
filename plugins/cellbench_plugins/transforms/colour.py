"""Colour augmentations: brightness, contrast, saturation, colour cast and noise."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cellbench.data.contracts import Picture, Transform
from cellbench.errors import PartError
from cellbench.registry import TRANSFORMS

# Rec. 601 luma: weights of R, G and B in the grey value.
LUMA = np.array([0.299, 0.587, 0.114])


@TRANSFORMS.register_module()
class ColourJitter(Transform):
    """Random brightness, contrast, saturation and colour cast, in one affine map of RGB.

    The steps have a fixed order (cast, brightness, saturation, contrast); as all are affine, they
    are combined into one 3x3 matrix and an offset. An image that exceeds white is then dimmed as a
    whole until its brightest value is white: the background of bright-field images is nearly
    white, and clipping would erase thin cell walls. Values below black are clipped.

    Differs: torchvision's ColorJitter rotates the hue in HSV, applies its steps in random order
    and clips after each; here a gain and an offset per channel model shifts of stain and lamp.
    """

    def __init__(
        self,
        *,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        channel_gain: float = 0.05,
        channel_offset: float = 0.02,
    ) -> None:
        """Set the strengths; 0 switches a step off.

        Args:
            brightness: the factor on all values is drawn from 1 +- this.
            contrast: the factor on the distance from the mean grey, likewise.
            saturation: the factor on the distance from each pixel's own grey, likewise.
            channel_gain: the factor on each channel, likewise.
            channel_offset: the offset of each channel is drawn from +- this; white is 1.

        Raises:
            PartError: a strength outside [0, 1].
        """
        self.strengths = {
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "channel_gain": channel_gain,
            "channel_offset": channel_offset,
        }
        for name, value in self.strengths.items():
            if not 0 <= value <= 1:
                raise PartError(f"ColourJitter: {name} is {value}; a strength is in [0, 1].")

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Change the colours; points do not move.

        Returns:
            A Picture with float32 pixels in 0..1.
        """
        values = as_float(picture.pixels).reshape(-1, 3)
        draws = rng.uniform(-1, 1, size=9)
        reach = self.strengths
        gains = 1 + reach["channel_gain"] * draws[0:3]
        offsets = reach["channel_offset"] * draws[3:6]
        brightness = 1 + reach["brightness"] * draws[6]
        saturation = 1 + reach["saturation"] * draws[7]
        contrast = 1 + reach["contrast"] * draws[8]

        saturate = saturation * np.eye(3) + (1 - saturation) * np.ones((3, 1)) * LUMA
        matrix = contrast * brightness * saturate @ np.diag(gains)
        shift = contrast * brightness * saturate @ offsets
        # Saturation does not change the grey, so the mean grey before contrast follows from the
        # mean colour. The product with ones is ten times faster than a NumPy mean of (N, 3) over N.
        mean = np.ones(len(values), dtype=np.float32) @ values / len(values)
        grey = brightness * float(LUMA @ (gains * mean + offsets))
        shift = shift + (1 - contrast) * grey

        changed = values @ matrix.T.astype(np.float32)
        add_to_channels(changed, shift.astype(np.float32))
        most = float(changed.max(initial=0))
        if most > 1:
            changed /= most
        np.clip(changed, 0, 1, out=changed)
        return replace(picture, pixels=changed.reshape(picture.pixels.shape))


@TRANSFORMS.register_module()
class GaussianNoise(Transform):
    """Additive Gaussian noise of a random strength per image, independent for every value."""

    def __init__(self, *, most: float = 0.02) -> None:
        """Set the strength.

        Args:
            most: largest standard deviation, where white is 1; that of each image is drawn
                uniformly from [0, most].

        Raises:
            PartError: a number outside [0, 1].
        """
        if not 0 <= most <= 1:
            raise PartError(f"GaussianNoise: most is {most}; a deviation is in [0, 1].")
        self.most = most

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Add noise; points do not move.

        Returns:
            A Picture with float32 pixels in 0..1.
        """
        deviation = np.float32(rng.uniform(0, self.most))
        noise = rng.standard_normal(picture.pixels.shape, dtype=np.float32)
        noise *= deviation
        noise += as_float(picture.pixels)
        return replace(picture, pixels=np.clip(noise, 0, 1, out=noise))


def as_float(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Convert pixels to contiguous float32 in 0..1; uint8 is divided by 255."""
    if pixels.dtype == np.uint8:
        return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32, order="C")
    return np.ascontiguousarray(pixels, dtype=np.float32)


def add_to_channels(values: NDArray[np.float32], shift: NDArray[np.float32]) -> None:
    """Add one number to each column of (N, 3) values in place.

    NumPy's broadcast of (3,) over (N, 3) takes three times as long.
    """
    for channel, added in enumerate(shift):
        values[:, channel] += added
