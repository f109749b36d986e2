"""Registers the core's skeleton of point-based methods under its name."""

from cellbench.models import point_counter
from cellbench.models.parts import Backbone, Decoder, Head, Matcher, ProposalLoss
from cellbench.registry import COUNTERS


@COUNTERS.register_module()
class PointCounter(point_counter.PointCounter):
    """Counts proposals whose score reaches a threshold: backbone, decoder, head, matcher, loss.

    In a config each part is a dict with its `type`; the decoder's `conv` names the convolution on
    its path. The code is that of `cellbench.models.point_counter.PointCounter`.

    Source: P2PNet, arXiv:2107.12746; DLA-Count, section 2.1.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        decoder: Decoder,
        head: Head,
        matcher: Matcher,
        loss: ProposalLoss,
        threshold: float = 0.5,
        score_floor: float = 0.02,
        size_multiple: int = 32,
        channels_last: bool = True,
    ) -> None:
        """Hand the parts on; named here so that configs are checked without importing torch."""
        super().__init__(
            backbone=backbone,
            decoder=decoder,
            head=head,
            matcher=matcher,
            loss=loss,
            threshold=threshold,
            score_floor=score_floor,
            size_multiple=size_multiple,
            channels_last=channels_last,
        )
