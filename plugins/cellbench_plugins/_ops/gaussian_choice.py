"""Choice of the implementation of Gaussian kernels per pixel: Triton where it works."""

import logging
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from cellbench_plugins._ops import gaussian_tiles

# Relative to the largest value: a bfloat16 has 8 bits.
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 2e-2}

# Whether the kernels worked in this process, by everything that they are compiled for; None for
# unsupported maps, which does not affect others.
_tried: dict[tuple[Any, ...], bool | None] = {}


class PixelKernels(Protocol):
    """Implementation of both passes; see `gaussian_tiles`."""

    def forward(
        self, rows: Tensor, parameters: Tensor, radii: tuple[int, ...], unit: bool
    ) -> tuple[Tensor, Tensor]:
        """Convolve; return the result and what `backward` needs as `factors`."""

    def backward(
        self,
        grad: Tensor,
        rows: Tensor,
        parameters: Tensor,
        factors: Tensor,
        radii: tuple[int, ...],
        unit: bool,
    ) -> tuple[Tensor, Tensor]:
        """Compute the gradients of the map and of the parameters."""


def pixel_kernels(rows: Tensor, radii: tuple[int, ...], unit: bool) -> PixelKernels:
    """Select the implementation for a map: Triton on a CUDA device where it works, else PyTorch.

    At the first use of each kernel its results are compared with PyTorch's on a small map. A
    failure (no compiler, an old Triton, a wrong result) ends the use of Triton in this process,
    with one logged sentence. Nothing is tested while a CUDA graph is captured, because a step
    before the capture has done so.

    Args:
        rows: (B, H, W, C).
        radii: radii of the supports, px.
        unit: normalise to unit sum.
    """
    watched = type(rows) is not Tensor or _get_current_dispatch_mode() is not None
    if not rows.is_cuda or watched or not rows.numel() or not torch.cuda.is_available():
        return gaussian_tiles
    key = (rows.device, rows.dtype, rows.shape[-1], radii, unit)
    if key not in _tried:
        if torch.cuda.is_current_stream_capturing():
            return gaussian_tiles
        _tried[key] = False not in _tried.values() and works(*key)
    if not _tried[key]:
        return gaussian_tiles
    from cellbench_plugins._ops import gaussian_triton

    return gaussian_triton


@torch.no_grad()
def works(
    device: torch.device, dtype: torch.dtype, channels: int, radii: tuple[int, ...], unit: bool
) -> bool | None:
    """Test whether Triton's kernels compile, run and agree with PyTorch's; log a warning if not.

    Returns:
        Whether they do; None if the kernels do not support the map.
    """
    try:
        from cellbench_plugins._ops import gaussian_triton

        if not gaussian_triton.supports(dtype, radii):
            return None
        worst = _difference(gaussian_triton, device, dtype, channels, radii, unit)
    except Exception as error:  # whatever an import or a compiler may raise
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
    else:
        if worst <= _TOLERANCE[dtype]:
            return True
        why = f"its results differ from PyTorch's by {worst:.1g} of the largest"
    logging.getLogger("cellbench").warning(
        "Gaussian kernels run without Triton in this process, more slowly: %s.", why
    )
    return False


def _difference(
    kernels: PixelKernels,
    device: torch.device,
    dtype: torch.dtype,
    channels: int,
    radii: tuple[int, ...],
    unit: bool,
) -> float:
    """Compute the largest difference from PyTorch in float64, relative to the largest value."""
    height, width, count = 3, max(radii) + 2, len(radii)
    rows = _waves((1, height, width, channels), 1.3, device).to(dtype)
    grad = _waves((1, height, width, count * channels), 2.1, device).to(dtype)
    sigmas = 2 + _waves((1, height, width, 2 * count), 0.7, device)
    parameters = torch.cat([sigmas, _waves((1, height, width, 2 * count), 1.9, device)], dim=-1)
    out, factors = kernels.forward(rows, parameters, radii, unit)
    found = out, *kernels.backward(grad, rows, parameters, factors, radii, unit)
    rows, grad, parameters = rows.double(), grad.double(), parameters.double()
    out, factors = gaussian_tiles.forward(rows, parameters, radii, unit)
    expected = out, *gaussian_tiles.backward(grad, rows, parameters, factors, radii, unit)
    differences = [
        float((a - b).abs().max() / b.abs().max().clamp_min(1e-6))
        for a, b in zip(found, expected, strict=True)
    ]
    return max(differences) if all(d == d for d in differences) else float("inf")


def _waves(shape: tuple[int, ...], step: float, device: torch.device) -> Tensor:
    """Create deterministic numbers in -1..1, without a random generator."""
    number = torch.Size(shape).numel()
    return torch.arange(number, device=device, dtype=torch.float32).mul_(step).sin_().view(shape)
