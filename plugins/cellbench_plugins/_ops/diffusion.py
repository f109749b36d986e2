"""Diffusion of dot maps: noise schedule, DDIM sampling and the maps."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def signal_shares(times: int = 1000, *, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Compute the share of the signal's variance at each time, for a linear noise schedule.

    Source: Ho et al., "Denoising Diffusion Probabilistic Models", arXiv:2006.11239, section 4.

    Args:
        times: number of times.
        first: variance added at the first time.
        last: variance added at the last time.

    Returns:
        (times,) float32, descending from almost 1 to almost 0; "alpha bar" in the paper.
    """
    betas = torch.linspace(first, last, times, dtype=torch.float64)
    return (1 - betas).cumprod(dim=0).float()


def noised(clean: Tensor, noise: Tensor, share: Tensor) -> Tensor:
    """Add noise to a map: sqrt(share) * clean + sqrt(1 - share) * noise."""
    return share.sqrt() * clean + (1 - share).sqrt() * noise


def velocity(clean: Tensor, noise: Tensor, share: Tensor) -> Tensor:
    """Compute the velocity, the network's target: sqrt(share) * noise - sqrt(1 - share) * clean.

    Source: Salimans & Ho, "Progressive Distillation", arXiv:2202.00512, section 4.
    """
    return share.sqrt() * noise - (1 - share).sqrt() * clean


def clean_from_velocity(noisy: Tensor, predicted: Tensor, share: Tensor) -> Tensor:
    """Compute the clean map from a noisy one and its predicted velocity."""
    return share.sqrt() * noisy - (1 - share).sqrt() * predicted


def sampling_times(times: int, steps: int) -> list[int]:
    """Return the times of sampling in few steps, evenly spaced from the last time down.

    Raises:
        ValueError: more steps than times, or none.
    """
    if not 1 <= steps <= times:
        raise ValueError(f"there are 1 to {times} sampling steps, not {steps}")
    return [round(times * (steps - index) / steps) - 1 for index in range(steps)]


def sample_clean(
    predict: Callable[[Tensor, int], Tensor], noise: Tensor, shares: Tensor, times: Sequence[int]
) -> Tensor:
    """Sample a clean map from noise by deterministic DDIM.

    Source: Song et al., "Denoising Diffusion Implicit Models", arXiv:2010.02502, Eq. 12 with
        sigma = 0.

    Args:
        predict: (noisy map, time) -> clean map; it is clipped to [-1, 1] here.
        noise: initial noise, of any shape.
        shares: result of `signal_shares`.
        times: descending; result of `sampling_times`.

    Returns:
        The clean map predicted at the last time, in [-1, 1].
    """
    noisy = clean = noise
    for index, time in enumerate(times):
        share = shares[time]
        clean = predict(noisy, time).clamp(-1, 1)
        if index + 1 < len(times):
            estimated_noise = (noisy - share.sqrt() * clean) / (1 - share).sqrt()
            noisy = noised(clean, estimated_noise, shares[times[index + 1]])
    return clean


def image_noise(image_id: str, shape: Sequence[int], *, seed: int) -> Tensor:
    """Draw the initial noise of an image, the same in every process and every batch.

    Args:
        image_id: id of the image.
        shape: shape of the noise.
        seed: common seed of all images.

    Returns:
        float32 on the CPU, standard normal.
    """
    digest = hashlib.blake2b(f"{seed}/{image_id}".encode(), digest_size=8).digest()
    source = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    return torch.randn(*shape, generator=source)


def dot_maps(
    points: Sequence[Tensor], grid: tuple[int, int], *, stride: int, sigma: float, reach: int = 2
) -> Tensor:
    """Compute maps of narrow dots, one for each cell, of height 1 at the map cell that holds it.

    Dots that overlap are combined by the maximum, so two dots in one map cell are one.

    Args:
        points: per image (A_i, 2) float, (x, y) px of the input.
        grid: (rows, columns) of the maps.
        stride: px of the input per map cell.
        sigma: deviation of a dot in map cells.
        reach: map cells on each side beyond which a dot is 0.

    Returns:
        (B, 1, rows, columns) float32 in [0, 1]; 0 for an image without cells.
    """
    rows, columns = grid
    device = points[0].device if points else None
    maps = torch.zeros(len(points), rows + 2 * reach, columns + 2 * reach, device=device)
    offsets = torch.arange(-reach, reach + 1, device=device)
    squared = offsets[:, None].square() + offsets.square()  # (2 reach + 1, 2 reach + 1)
    dot = torch.exp(-squared / (2 * sigma**2)).flatten()
    for own, cells in zip(maps, points, strict=True):
        if len(cells):
            place = (cells / stride).long() + reach  # (A, 2)
            y = place[:, 1, None, None] + offsets[:, None]
            x = place[:, 0, None, None] + offsets
            flat = (y * own.shape[1] + x).flatten()
            own.view(-1).scatter_reduce_(0, flat, dot.repeat(len(cells)), "amax")
    return maps[:, None, reach : reach + rows, reach : reach + columns]
