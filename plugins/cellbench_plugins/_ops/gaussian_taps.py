"""Gaussian kernels per pixel, tap by tap, in operators that ONNX runtimes support.

The size of the map and of the batch enter only through shapes, so that an exported network takes
any. The map is read once for every tap, which would be too slow for training.

See `gaussian` for what is computed.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Below this deviation (px) a kernel is a single tap; the floor keeps 1 / sigma^2 finite.
LEAST_SIGMA = 1e-3


def forward(x: Tensor, parameters: Sequence[Tensor], radii: tuple[int, ...], unit: bool) -> Tensor:
    """Convolve with one kernel per pixel and size.

    Args:
        x: (B, C, H, W) float32.
        parameters: sigma_x, sigma_y, offset_x, offset_y, each (B, S, H, W), px; sigmas are raised
            to at least `LEAST_SIGMA`.
        radii: S radii, px.
        unit: normalise to unit sum; otherwise a density.

    Returns:
        (B, S C, H, W), all channels of the first size first.
    """
    sigma_x, sigma_y, offset_x, offset_y = parameters
    height, width = x.shape[2], x.shape[3]
    across = torch.arange(width, device=x.device)
    down = torch.arange(height, device=x.device)[:, None]
    out = []
    for index, radius in enumerate(radii):
        own = slice(index, index + 1)
        wx = _weights(sigma_x[:, own], offset_x[:, own], across, width, radius, unit)
        wy = _weights(sigma_y[:, own], offset_y[:, own], down, height, radius, unit)
        padded = F.pad(x, (radius, radius, radius, radius))
        total = torch.zeros_like(x)
        for v in range(2 * radius + 1):
            rows = padded[:, :, v : v + height]
            line = torch.zeros_like(x)
            for u in range(2 * radius + 1):
                line = line + wx[:, u : u + 1] * rows[..., u : u + width]
            total = total + wy[:, v : v + 1] * line
        out.append(total)
    return torch.cat(out, dim=1)


def _weights(
    sigma: Tensor, offset: Tensor, place: Tensor, size: int, radius: int, unit: bool
) -> Tensor:
    """Compute the weights of the taps along one axis, (B, taps, H, W), from (B, 1, H, W)."""
    taps = torch.arange(-radius, radius + 1, device=sigma.device).view(1, -1, 1, 1)
    sigma = sigma.clamp_min(LEAST_SIGMA)
    z = (taps - offset) / sigma
    logits = -0.5 * z * z
    if not unit:
        return logits.exp() / (math.sqrt(2 * math.pi) * sigma)
    at = place + taps
    # A finite number suffices: the middle tap is always inside, so taps outside get weight 0.
    return logits.masked_fill((at < 0) | (at >= size), -1e30).softmax(dim=1)
