"""Augmentations of exposure, sensor noise and empty fields."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellbench.data.contracts import Picture, Transform
from cellbench.errors import PartError
from cellbench.registry import TRANSFORMS
from cellbench.structures import no_points
from cellbench_plugins.transforms.colour import as_float

# Percentiles whose difference is the contrast of an image: of its background and of its cells.
_GROUND, _BRIGHTEST = 30.0, 99.5


@TRANSFORMS.register_module()
class ExposureJitter(Transform):
    """Random gamma, gain and black level, equal for all channels.

    In this order: a gamma that keeps the greatest value; a gain, drawn log-uniformly and bounded
    so that no value exceeds 1; and, in half of the images, an added level, a share of the range
    left above the greatest value. A network thus learns cells from their shapes, at any contrast
    and over any background.

    Differs: jitters of brightness for photographs are a fifth or so; between two microscopes, or
        two exposures of one, the contrast of the same cells differs by a factor of several.
    """

    def __init__(
        self,
        *,
        gain: Sequence[float] = (0.4, 2.5),
        gamma: Sequence[float] = (0.75, 1.33),
        level: float = 0.8,
    ) -> None:
        """Set the ranges.

        Args:
            gain: minimum and maximum factor on the values, both above 0.
            gamma: minimum and maximum exponent, both above 0, also drawn log-uniformly.
            level: largest added level, as a share of the range above the greatest value, in [0, 1].

        Raises:
            PartError: a number out of range, or a pair in the wrong order.
        """
        for name, pair in (("gain", gain), ("gamma", gamma)):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] < math.inf:
                raise PartError(
                    f"ExposureJitter: {name} is {tuple(pair)}; it is two positive numbers, the "
                    "smaller first, such as (0.5, 2.0)."
                )
        if not 0 <= level <= 1:
            raise PartError(f"ExposureJitter: level is {level}; a share is in [0, 1].")
        self.gain = (float(gain[0]), float(gain[1]))
        self.gamma = (float(gamma[0]), float(gamma[1]))
        self.level = level

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Change the values; points do not move.

        Returns:
            A Picture with float32 pixels in 0..1.
        """
        gamma, gain = (math.exp(rng.uniform(*np.log(pair))) for pair in (self.gamma, self.gain))
        lifted, level = rng.random() < 0.5, rng.uniform(0, self.level)
        values = as_float(picture.pixels)
        most = float(values.max(initial=0))
        if most <= 0:  # an all-black image: only the level has an effect
            return replace(picture, pixels=values + np.float32(level if lifted else 0))
        changed = np.power(values / np.float32(most), np.float32(gamma))
        changed *= np.float32(most)
        changed *= np.float32(min(gain, 1 / most))
        if lifted:
            changed += np.float32(level * max(1 - float(changed.max()), 0.0))
        return replace(picture, pixels=np.clip(changed, 0, 1, out=changed))


@TRANSFORMS.register_module()
class SensorNoise(Transform):
    """Random blur and Poisson-Gaussian camera noise, of random strengths per image.

    The variance of a value is the sum of read noise and of photon noise, which is proportional to
    the value. Where all channels are equal (a grey image as RGB), they share the same noise. In an
    image with cells the noise is bounded by a share of the contrast, so that dim cells remain
    visible; in one without, the network learns that noise is not a cell.

    Source: Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image
        raw-data", IEEE TIP 2008, doi:10.1109/TIP.2008.2001399 (the variance).
    """

    def __init__(
        self,
        *,
        blur_px: float = 1.0,
        read: float = 0.015,
        photons: float = 0.02,
        of_contrast: float = 0.1,
        chance: float = 0.75,
    ) -> None:
        """Set the strengths.

        Args:
            blur_px: largest standard deviation of the Gaussian blur, px of the image; that of each
                image is drawn uniformly from 0 on.
            read: largest standard deviation of the read noise, where white is 1.
            photons: largest standard deviation of the photon noise at white.
            of_contrast: largest standard deviation as a share of the contrast of an image with
                cells.
            chance: probability that an image is changed at all.

        Raises:
            PartError: a negative or non-finite blur, or another number outside [0, 1].
        """
        if not 0 <= blur_px < math.inf:
            raise PartError(f"SensorNoise: blur_px is {blur_px}; it is 0 or more.")
        shares = {"read": read, "photons": photons, "of_contrast": of_contrast, "chance": chance}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise PartError(f"SensorNoise: {name} is {value}; it is in [0, 1].")
        self.blur_px, self.chance = blur_px, chance
        self.read, self.photons, self.of_contrast = read, photons, of_contrast

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Blur and add noise; points do not move.

        Returns:
            A Picture with float32 pixels in 0..1.
        """
        happens = rng.random() < self.chance
        blur_px, read, photons = rng.uniform(0, [self.blur_px, self.read, self.photons])
        values = as_float(picture.pixels)
        if not happens:
            return replace(picture, pixels=values)
        grey = bool((values[..., 1:] == values[..., :1]).all())
        channels = values[..., :1] if grey else values
        if blur_px > 0:
            channels = ndimage.gaussian_filter(channels, (blur_px, blur_px, 0), mode="nearest")
        deviation = np.sqrt(read**2 + photons**2 * channels, dtype=np.float32)
        if len(picture.points):
            contrast = float(np.percentile(channels, _BRIGHTEST) - np.percentile(channels, _GROUND))
            greatest = float(deviation.max())
            if greatest > 0:
                deviation *= np.float32(min(1.0, self.of_contrast * contrast / greatest))
        noisy = channels + deviation * rng.standard_normal(channels.shape, dtype=np.float32)
        np.clip(noisy, 0, 1, out=noisy)
        return replace(picture, pixels=np.repeat(noisy, 3, axis=2) if grey else noisy)


@TRANSFORMS.register_module()
class BlankField(Transform):
    """Random replacement of images by empty fields: a grey level with an optional gradient.

    Annotated images hold cells nearly everywhere, so a network would otherwise see no example of a
    field without cells. Use `SensorNoise` after it.
    """

    def __init__(self, *, share: float = 0.08, slope: float = 0.1) -> None:
        """Set the share and the gradient.

        Args:
            share: share of the images that are replaced, in [0, 1].
            slope: largest change of the level from one edge to the other; white is 1.

        Raises:
            PartError: a number outside [0, 1].
        """
        for name, value in (("share", share), ("slope", slope)):
            if not 0 <= value <= 1:
                raise PartError(f"BlankField: {name} is {value}; it is in [0, 1].")
        self.share, self.slope = share, slope

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Return the image unchanged, or an empty field of its size.

        Returns:
            The Picture, or one with float32 pixels in 0..1 and no points.
        """
        if rng.random() >= self.share:
            return picture
        level, angle = rng.uniform(0, 1), rng.uniform(0, 2 * math.pi)
        slope = rng.uniform(0, self.slope) * (rng.random() < 0.5)
        width, height = picture.size
        x, y = np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height)[:, None]
        field: NDArray[np.float64] = level + slope * (math.cos(angle) * x + math.sin(angle) * y)
        pixels = np.repeat(np.clip(field, 0, 1)[:, :, None].astype(np.float32), 3, axis=2)
        return replace(picture, pixels=pixels, points=no_points())
