"""Matching of a whole batch: one copy to the host, images in threads, one copy back."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellbench.models.parts import Matcher, Pairs, Proposals
from cellbench.models.preprocess import to_device

Rows = NDArray[np.int64]

# Thread pools by number of threads, kept for the next step.
_pool = cache(partial(ThreadPoolExecutor, thread_name_prefix="matching"))


@torch.no_grad()
def match_batch(
    matcher: Matcher,
    proposals: Proposals,
    valid: Tensor,
    cells: Sequence[NDArray[np.float32]],
    *,
    scale: float,
) -> Pairs | None:
    """Match the proposals of every image with its cells.

    Args:
        matcher: solves one image; called from several threads where torch may use several.
        proposals: (B, P, ...) of the head, on any device.
        valid: (B, P) bool, True for proposals to match.
        cells: per image (A_i, 2) float32, px of the network input.
        scale: input px per px of the original image.

    Returns:
        The pairs on the device of the proposals, image by image; None where a proposal is not
        finite, which no matcher can order.
    """
    points, device = proposals.points, proposals.points.device
    columns = [points, proposals.scores[..., None], valid[..., None].to(points.dtype)]
    packed = torch.cat(columns, dim=-1).cpu().numpy()  # (B, P, 4)
    if not np.isfinite(packed).all():
        return None

    def match(index: int) -> tuple[Rows, NDArray[np.float32]]:
        inside = packed[index, :, 3].nonzero()[0]
        of_image = packed[index, inside]  # (P', 4)
        rows, which = matcher.match_arrays(
            of_image[:, :2], of_image[:, 2], cells[index], scale=scale
        )
        return inside[rows], cells[index][which]

    indices = range(len(packed))
    workers = min(torch.get_num_threads(), len(packed))
    # SciPy's assignment releases the GIL.
    matches = list(_pool(workers).map(match, indices) if workers > 1 else map(match, indices))
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *(rows for rows, _ in matches)])
    images = np.repeat(np.arange(len(matches)), [len(rows) for rows, _ in matches])
    matched = np.concatenate([np.zeros((0, 2), dtype=np.float32), *(cell for _, cell in matches)])
    pairs = to_device(torch.from_numpy(np.stack([images, rows])), device)  # (2, M)
    return Pairs(pairs[0], pairs[1], to_device(torch.from_numpy(matched), device))
