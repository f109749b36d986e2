"""Noise, outlines and camera artefacts of simulated images."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Field = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> Field:
    """Draw a Gaussian random field of mean about 0 and standard deviation about 1.

    Args:
        rng: random generator.
        shape: (H, W).
        scale_px: deviation of the smoothing kernel. Coarse fields are computed on a coarse grid,
            so that their cost falls with the scale.
    """
    step = max(1, int(scale_px // 2))
    coarse = tuple(-(-side // step) + 2 for side in shape)
    field = rng.standard_normal(coarse, dtype=np.float32)
    sigma = scale_px / step
    field = ndimage.gaussian_filter(field, sigma, mode="wrap")
    # White noise of unit deviation has the deviation 1 / (2 sqrt(pi) sigma) after smoothing.
    field *= np.float32(2 * np.sqrt(np.pi) * sigma)
    if step > 1:
        field = enlarge(field, step)
    return np.ascontiguousarray(field[: shape[0], : shape[1]])


def enlarge(field: NDArray[np.floating], times: int) -> Field:
    """Enlarge a field by an integer factor with bilinear interpolation."""
    height, width = field.shape
    coarse = Image.fromarray(field.astype(np.float32, copy=False))
    fine = coarse.resize((width * times, height * times), Image.Resampling.BILINEAR)
    return np.array(fine, dtype=np.float32)


def outline(
    rng: np.random.Generator, cells: int, waviness: float, orders: tuple[int, ...] = (2, 3, 4, 5)
) -> tuple[Field, Field]:
    """Draw coefficients of closed outlines r(angle) = 1 + sum of waves, for `signed_radius`.

    Args:
        rng: random generator.
        cells: number of outlines.
        waviness: standard deviation of the radius, as a share of it.
        orders: numbers of waves around the outline, 2 or more each.

    Returns:
        Two (cells, orders) arrays: amplitude of the cosine and of the sine of each order.
    """
    # Long waves have larger amplitudes, as for a membrane under tension.
    weight = 1.0 / (np.array(orders, dtype=np.float32) - 1.0)
    size = np.float32(waviness) * weight / np.linalg.norm(weight)
    return (
        size * rng.standard_normal((cells, len(orders)), dtype=np.float32),
        size * rng.standard_normal((cells, len(orders)), dtype=np.float32),
    )


def signed_radius(
    dx: NDArray[np.floating],
    dy: NDArray[np.floating],
    cosines: NDArray[np.floating],
    sines: NDArray[np.floating],
    orders: tuple[int, ...] = (2, 3, 4, 5),
) -> NDArray[np.floating]:
    """Compute the distance from the centre relative to the outline: 0 at the centre, 1 on it.

    Args:
        dx: offsets to the right in units of the mean radius.
        dy: offsets downwards, likewise.
        cosines: this cell's row of the cosine amplitudes of `outline`.
        sines: this cell's row of the sine amplitudes.
        orders: as given to `outline`.
    """
    distance = np.hypot(dx, dy)
    safe = np.maximum(distance, 1e-6)
    turn = (
        dx + np.complex64(1j) * dy
    ) / safe  # its powers hold cosine and sine of the multiples of the angle
    bound = np.ones_like(distance)
    for order, cosine, sine in zip(orders, cosines, sines, strict=True):
        wave = turn**order
        bound += cosine * wave.real + sine * wave.imag
    return distance / np.maximum(bound, 0.3)


def ramp(value: NDArray[np.floating] | float, low: float, high: float) -> NDArray[np.floating]:
    """Map linearly from 0 at `low` to 1 at `high`, clipped to [0, 1]; falls if low > high."""
    return np.clip((np.asarray(value) - low) / (high - low), 0.0, 1.0)


def to_uint8(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Round grey values to contiguous uint8, clipped to 0..255."""
    return np.ascontiguousarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress and decompress an image as JPEG, as the authors of a set did.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        quality: quality of the encoder, 1 to 95.
    """
    packed = BytesIO()
    Image.fromarray(pixels).save(packed, "JPEG", quality=quality)
    with Image.open(packed) as picture:
        return np.array(picture.convert("RGB"))
