"""Stain normalisation and stain augmentation for H&E histology."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cellbench.data.contracts import Picture, Transform
from cellbench.errors import PartError
from cellbench.registry import TRANSFORMS
from cellbench_plugins.transforms.colour import add_to_channels, as_float

# Optical densities of R, G and B: the median over MBM's training images of split 0.
HAEMATOXYLIN, EOSIN = (0.65, 0.66, 0.37), (0.22, 0.87, 0.44)

# Optical density below which a pixel holds no tissue, and the least share of an image that must
# be tissue for its stains to be estimated.
_GLASS = 0.15
_LEAST_TISSUE = 0.01


@TRANSFORMS.register_module()
class StainNormalisation(Transform):
    """Macenko stain normalisation of H&E images to a reference.

    The optical densities of the tissue lie near a plane, whose extreme directions are the two
    stains. The amounts of both stains in each pixel are scaled so that their 99th percentiles are
    those of the reference, and recombined with the reference's colours. Components off the plane
    (pigment, dust) are lost.

    The transform is deterministic and needs whole images to estimate the stains, so it belongs
    in `data.prepare`.

    Source: Macenko et al., "A method for normalizing histology slides for quantitative analysis",
        ISBI 2009, doi:10.1109/ISBI.2009.5193250.

    Differs: the default reference is the median of MBM's training images of split 0, not the
        paper's slide; and an image that is all glass, or of one colour, is returned unchanged.
    """

    def __init__(
        self,
        *,
        haematoxylin: Sequence[float] = HAEMATOXYLIN,
        eosin: Sequence[float] = EOSIN,
        amounts: Sequence[float] = (2.8, 1.1),
        percentile: float = 1.0,
    ) -> None:
        """Set the reference.

        Args:
            haematoxylin: optical densities of the stain in R, G and B; only the direction matters.
            eosin: the same for eosin.
            amounts: 99th percentiles of the two stains' amounts.
            percentile: percentile of the directions in the plane, from either end, that is taken
                for a pure stain.

        Raises:
            PartError: a stain is not three densities above 0, or both stains are equal.
        """
        stains = _pair(haematoxylin, eosin)
        if len(amounts) != 2 or not all(amount > 0 for amount in amounts):
            raise PartError(f"amounts: two numbers above 0 are wanted here, not {amounts!r}.")
        if not 0 <= percentile < 50:
            raise PartError(f"percentile: from 0 to below 50, not {percentile}.")
        self.stains = stains
        self.amounts = np.array(amounts, dtype=np.float64)
        self.percentile = percentile

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Normalise the colours; points do not move, and the generator is not used.

        Returns:
            A Picture with uint8 pixels.
        """
        pixels = picture.pixels
        values = pixels if pixels.dtype == np.uint8 else np.rint(255 * pixels)
        density = _densities(values.reshape(-1, 3).astype(np.float32))
        stains = find_stains(density, self.percentile)
        if stains is None:
            return picture
        amounts = density @ np.linalg.pinv(stains).astype(np.float32)  # (N, 2)
        most = np.percentile(amounts[_tissue(density)], 99, axis=0)
        if not (most > 1e-3).all():
            return picture
        painted = amounts @ ((self.amounts / most)[:, None] * self.stains).astype(np.float32)
        colours = np.rint(_values(painted)).clip(0, 255).astype(np.uint8)
        return replace(picture, pixels=colours.reshape(pixels.shape))


@TRANSFORMS.register_module()
class StainJitter(Transform):
    """Random strength and offset of the haematoxylin and eosin stains.

    The optical density of a pixel is an amount of haematoxylin, one of eosin, and a residual. Each
    stain's amount is multiplied by a factor from 1 +- `strength` and shifted by a number from
    +- `shift`, the same in all pixels; the residual does not change. Colours thus vary as between
    laboratories, whereas a jitter of the channels also yields colours that no stain has.

    Source: Tellez et al., "Whole-slide mitosis detection in H&E breast histology using PHH3 as a
        reference to train distilled stain-invariant convolutional networks", IEEE TMI 2018,
        arXiv:1808.05896.

    Differs: the two stains are those of StainNormalisation's reference, and there is no third one.
    """

    def __init__(
        self,
        *,
        strength: float = 0.2,
        shift: float = 0.1,
        haematoxylin: Sequence[float] = HAEMATOXYLIN,
        eosin: Sequence[float] = EOSIN,
    ) -> None:
        """Set the ranges.

        Args:
            strength: largest deviation of the factors from 1, 0 to below 1.
            shift: largest shift of the optical density, at least 0; colours are clipped at white.
            haematoxylin: optical densities of the stain in R, G and B; only the direction matters.
            eosin: the same for eosin.

        Raises:
            PartError: a number out of range, a stain that is not three densities above 0, or
                equal stains.
        """
        if not 0 <= strength < 1 or not shift >= 0:
            raise PartError(
                "StainJitter: strength is from 0 to below 1 and shift at least 0, not "
                f"{strength} and {shift}."
            )
        self.strength, self.shift = strength, shift
        self.stains = _pair(haematoxylin, eosin)
        self.unmixing = np.linalg.pinv(self.stains)  # (3, 2)

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Change the stains; points do not move.

        Returns:
            A Picture with float32 pixels in 0..1.
        """
        factors = 1 + self.strength * rng.uniform(-1, 1, size=2)
        shifts = self.shift * rng.uniform(-1, 1, size=2)
        # density' = density + ((factor - 1) amount + shift) stains, one affine map of densities
        mixing = np.eye(3) + self.unmixing @ np.diag(factors - 1) @ self.stains
        values = as_float(picture.pixels)
        density = _densities(255 * values.reshape(-1, 3))
        moved = density @ mixing.astype(np.float32)
        add_to_channels(moved, (shifts @ self.stains).astype(np.float32))
        colours = _values(moved)
        colours /= 255
        np.clip(colours, 0, 1, out=colours)
        return replace(picture, pixels=colours.reshape(values.shape))


def find_stains(density: NDArray[np.floating], percentile: float) -> NDArray[np.float64] | None:
    """Estimate the two stains of a section.

    Args:
        density: (N, 3) optical densities, natural logarithm.
        percentile: percentile of the directions in the tissue's plane, from either end, that is
            taken for a pure stain.

    Returns:
        (2, 3) of length 1, haematoxylin (which absorbs more red) first; None where there is too
        little tissue, or tissue of one colour.
    """
    tissue = density[_tissue(density)].astype(np.float64)
    if len(tissue) < max(100, _LEAST_TISSUE * len(density)):
        return None
    _, axes = np.linalg.eigh(np.cov(tissue.T))
    plane = axes[:, [2, 1]]  # the two directions of most variance, as columns
    plane = plane * np.where(plane[0] < 0, -1, 1)  # so that no angle of the tissue is near ±180°
    flat = tissue @ plane
    ends = np.percentile(np.arctan2(flat[:, 1], flat[:, 0]), [percentile, 100 - percentile])
    stains = np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T
    if np.linalg.matrix_rank(stains, tol=1e-2) < 2:
        return None
    return stains if stains[0, 0] > stains[1, 0] else stains[::-1]


def _densities(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute optical densities of values from 0 to 255; 1 is added, so that black is finite."""
    density = values + 1
    density /= 256
    np.log(density, out=density)
    return np.negative(density, out=density)


def _values(densities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute values from optical densities, the inverse of `_densities`; not clipped to 0..255."""
    values = np.negative(densities)
    np.exp(values, out=values)
    values *= 256
    values -= 1
    return values


def _tissue(density: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Select the pixels with stain in every channel, (N,)."""
    stained: NDArray[np.bool_] = np.all(density > _GLASS, axis=1)
    return stained


def _pair(haematoxylin: Sequence[float], eosin: Sequence[float]) -> NDArray[np.float64]:
    """Validate two stains and return them as (2, 3) unit vectors."""
    stains = np.array([_unit("haematoxylin", haematoxylin), _unit("eosin", eosin)])
    if np.linalg.matrix_rank(stains, tol=1e-3) < 2:
        raise PartError("haematoxylin and eosin are one colour; they have to differ.")
    return stains


def _unit(name: str, stain: Sequence[float]) -> NDArray[np.float64]:
    values = np.array(stain, dtype=np.float64)
    if values.shape != (3,) or not (values > 0).all() or not np.isfinite(values).all():
        raise PartError(f"{name}: three optical densities above 0 are wanted here, not {stain!r}.")
    return values / np.linalg.norm(values)
