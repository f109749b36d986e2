"""Peak head: a one-channel map whose local maxima are cells."""

import math

from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape, Head, Proposals
from cellbench.models.peaks import local_maxima, subpixel_offsets
from cellbench.registry import HEADS
from cellbench_plugins._ops.lattice import lattice


@HEADS.register_module()
class PeakHead(Head):
    """Peak head: a 1x1 convolution to one channel, whose local maxima are the cells.

    In training each cell of the map is a proposal at its own centre, without offset; only local
    maxima can be counted. Two biological cells nearer than two strides share a peak: cells of ADI
    lie 9 px apart at the median, so that set needs a map of stride 4 or finer.

    Source: DLA-Count, section 2.1.

    Differs: the paper states neither how the map is trained nor the window of a maximum. Here
        proposals are matched and trained as those of any head, and the window is 3x3 cells.
    """

    def __init__(
        self,
        in_shape: FeatureShape,
        *,
        window: int = 3,
        refine: bool = False,
        prior: float | None = 0.1,
    ) -> None:
        """Build the 1x1 convolution.

        Args:
            in_shape: shape of the fused map.
            window: odd edge, in map cells, of the square in which a local maximum is the highest.
            refine: outside training, move each point to the vertex of the parabola through its
                neighbours' logits, at most half a map cell along each axis.
            prior: score of every proposal before training, in (0, 1). None keeps PyTorch's
                initial weights.

        Raises:
            PartError: an even window, or a prior outside (0, 1).
        """
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise PartError(f"window: an odd number of map cells is wanted here, not {window}.")
        if prior is not None and not 0 < prior < 1:
            raise PartError(f"prior: a score between 0 and 1 is wanted here, not {prior}.")
        self.stride = in_shape.stride
        self.spacing_px = float(in_shape.stride)
        self.window = window
        self.refine = refine
        self.map = nn.Conv2d(in_shape.channels, 1, 1)
        if prior is not None:
            assert self.map.bias is not None  # for the type checker: nn.Conv2d has one
            nn.init.normal_(self.map.weight, std=0.01)
            nn.init.constant_(self.map.bias, math.log(prior / (1 - prior)))

    def forward(self, features: Tensor) -> Proposals:
        """Return one proposal per cell of the (B, C, H, W) map, in reading order."""
        logits = self.map(features).float().squeeze(1)  # (B, H, W)
        grid = (logits.shape[1], logits.shape[2])
        references = lattice(grid, self.stride, logits.device)
        points = references.expand(logits.shape[0], -1, -1)
        if self.refine and not self.training:
            points = points + self.stride * subpixel_offsets(logits).flatten(1, 2)
        return Proposals(points, logits.flatten(1), references, self.spacing_px)

    def peaks(self, proposals: Proposals, grid: tuple[int, int]) -> Tensor:
        """Select the proposals that are local maxima, (B, P) bool."""
        maps = proposals.logits.unflatten(1, grid)
        return local_maxima(maps, size=self.window).flatten(1)
