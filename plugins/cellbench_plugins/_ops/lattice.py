"""Regular lattices of reference points."""

import torch
from torch import Tensor


def lattice(grid: tuple[int, int], spacing_px: float, device: torch.device) -> Tensor:
    """Compute the centres of square cells that tile an image from its top left corner.

    Args:
        grid: (height, width) in cells.
        spacing_px: edge of a cell in px.
        device: device of the result.

    Returns:
        (height * width, 2) float32, (x, y) px, in reading order.
    """
    y, x = (spacing_px * (torch.arange(n, device=device) + 0.5) for n in grid)
    columns, rows = torch.meshgrid(x, y, indexing="xy")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)
