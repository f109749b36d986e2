"""Counter of the methods that propose points: backbone, decoder, head, matcher, loss."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.matching import match_batch
from cellbench.models.parts import (
    Backbone,
    Decoder,
    Head,
    Matcher,
    ProposalLoss,
    Proposals,
    check_strides,
)
from cellbench.models.scored import ScoredCounter, full_precision, scored
from cellbench.models.suppression import best_of_neighbours, merge_neighbours
from cellbench.models.views import VIEWS, View
from cellbench.registry import BACKBONES, COUNTERS, DECODERS, HEADS, LOSSES, MATCHERS, PartRegistry
from cellbench.structures import Prediction

# Points (N, 2), px of the original image, and scores (N,) of one image.
Candidates = tuple[NDArray[np.float32], NDArray[np.float32]]


@COUNTERS.register_module()
class PointCounter(ScoredCounter):
    """Counter of proposals that reach a score threshold: backbone, decoder, head, matcher, loss.

    In a config each part is a dict with its `type`; the decoder's `conv` names the convolution on
    its path.

    Training: every image's proposals are matched with its cells one to one, and the loss compares
    the pairs. Counting: a proposal counts if its reference lies in the image, the head selects it
    (`Head.peaks`), no better one lies within `apart_px`, and its score is at least `threshold`,
    which is chosen on validation. With `near="add"` the scores of the worse proposals near a
    better one are first added to its own. A point that its offset moves over the border counts,
    and is reported on the border: in training only cells inside an image are matched.

    Source: P2PNet, arXiv:2107.12746; DLA-Count, section 2.1.

    Differs: P2PNet counts scores above 0.5, also of proposals in padding. Neither paper merges
    proposals (`apart_px`) or pools several `views` of an image.
    """

    parts: ClassVar[Mapping[str, PartRegistry]] = {
        "backbone": BACKBONES,
        "decoder": DECODERS,
        "head": HEADS,
        "matcher": MATCHERS,
        "loss": LOSSES,
    }
    captures = True
    answers: ClassVar[Mapping[str, str]] = {
        "points": "(B, P, 2), x and y of every proposal, px of the input",
        "scores": "(B, P), 0 to 1; a proposal counts whose reference lies in the image and whose "
        "score reaches the threshold. With peaks, it is also the highest of so many by so many "
        "proposals around it; with apart_px, only the best of those so near each other counts, "
        "which has the scores of the others added where near_add is 1, and with views each of so "
        "many turned and flipped views of the image has its share of the score.",
        "references": "(P, 2), x and y of what each proposal was moved from, px of the input",
    }

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
        apart_px: float = 0.0,
        near: Literal["drop", "add"] = "drop",
        views: int = 1,
        size_multiple: int = 32,
        channels_last: bool = True,
    ) -> None:
        """Put the parts together.

        Args:
            backbone: images to maps.
            decoder: maps to one.
            head: the fused map to proposals.
            matcher: pairs proposals with cells, in training.
            loss: compares the matched pairs.
            threshold: least score that counts, until `calibrate` chooses one.
            score_floor: candidates below it are dropped; no lower threshold can be chosen.
            apart_px: of candidates at most this many px of the network input apart only the best
                is kept; 0 keeps all, also two at the same position.
            near: drop the others, or add them to the best one (see `merge_neighbours`).
            views: number of views of an image: unchanged (1), with quarter turns (4), and flipped
                too (8). Each view's candidates have their share of the score, and those near each
                other add up.
            size_multiple: inputs are padded to a multiple of this many px.
            channels_last: memory format of images and weights.

        Raises:
            PartError: a stride of the backbone does not divide `size_multiple`, or a negative
                distance, or views whose candidates do not add up.
        """
        if not apart_px >= 0:
            raise PartError(f"model.apart_px is 0 or more, not {apart_px}.")
        if not 1 <= views <= len(VIEWS):
            raise PartError(
                f"model.views: an image is seen in 1 to {len(VIEWS)} ways, not {views}."
            )
        if views > 1 and (near != "add" or not apart_px > 0):
            raise PartError('model.views: several need apart_px above 0 and near="add".')
        super().__init__(
            threshold=threshold, size_multiple=size_multiple, channels_last=channels_last
        )
        check_strides(backbone, size_multiple)
        self.backbone = backbone
        self.decoder = decoder
        self.head = head
        self.matcher = matcher
        self.criterion = loss
        self.score_floor = score_floor
        self.apart_px = apart_px
        self.near = near
        self.views = VIEWS[:views]
        if not loss.trains_points:
            why = "the loss has no term on points, so nothing trains where they are moved"
            head.untrained = {f"{name}.": why for name in head.point_modules}
        self.freeze_untrained()
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def network(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute points (B, P, 2), logits (B, P) and references (P, 2) of (B, 3, H, W) images."""
        proposals: Proposals = self.head(self.decoder(self.backbone(pixels)))
        return proposals.points, proposals.logits, proposals.references

    def answer(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the proposals of one view, before any selection: points, scores, references."""
        points, logits, references = self.network(pixels)
        return points, logits.sigmoid(), references

    def reading(self) -> dict[str, float]:
        """Return the parameters that select proposals, without the threshold."""
        return {
            "score_floor": self.score_floor,
            "peaks": getattr(self.head, "window", 0),
            "apart_px": self.apart_px,
            "near_add": int(self.near == "add"),
            "views": len(self.views),
        }

    def terms(self, outputs: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """Compute the terms of the training loss; not finite if the network's outputs are not."""
        points, logits, references = outputs
        with full_precision(points.device):
            proposals = Proposals(points, logits, references, self.head.spacing_px)
            valid = _inside(references, batch.images)
            pairs = match_batch(
                self.matcher, proposals, valid, batch.host_points, scale=batch.images.scale
            )
            if pairs is None:  # training stops at a loss that is not finite
                return {"loss_score": (points.sum() + logits.sum()) * float("nan")}
            terms: dict[str, Tensor] = self.criterion(proposals, pairs, valid)
        return terms

    @torch.no_grad()
    def infer(self, images: Images) -> list[Prediction]:
        """Predict for each image all candidates with scores, view by view in the head's order."""
        seen = [self._candidates(images, view) for view in self.views]
        candidates = seen[0]
        if len(seen) > 1:
            candidates = [_pooled(of_image) for of_image in zip(*seen, strict=True)]
        if self.apart_px > 0:
            candidates = [self._apart(p, s, self.apart_px / images.scale) for p, s in candidates]
        # a candidate's share of the score in one view may be below the floor
        above = [s >= self.score_floor for _, s in candidates]
        return [scored(p[k], s[k]) for (p, s), k in zip(candidates, above, strict=True)]

    def _candidates(self, images: Images, view: View) -> list[Candidates]:
        """Predict for each image points (px of the original image) and scores from one view."""
        proposals, valid, grid = self._propose(images, view)
        scores = proposals.scores
        keep = valid & (scores >= self.score_floor)
        inside = proposals.logits.masked_fill(~valid, float("-inf"))
        peaks = self.head.peaks(replace(proposals, logits=inside), grid)
        if peaks is not None:
            keep &= peaks
        # half-open: the largest coordinate inside is the float below the size
        size = images.sizes.to(proposals.points.dtype)[:, None, :] / images.scale
        last = torch.nextafter(size, torch.zeros_like(size))
        points = (proposals.points / images.scale).clamp_min(0).minimum(last)
        columns = zip(points.cpu().numpy(), scores.cpu().numpy(), keep.cpu().numpy(), strict=True)
        return [(p[kept], s[kept]) for p, s, kept in columns]

    def _apart(
        self, points: NDArray[np.float32], scores: NDArray[np.float32], radius_px: float
    ) -> Candidates:
        if self.near == "add":
            return merge_neighbours(points, scores, radius_px)
        stay = best_of_neighbours(points, scores, radius_px)
        return points[stay], scores[stay]

    def _propose(
        self, images: Images, view: View = VIEWS[0]
    ) -> tuple[Proposals, Tensor, tuple[int, int]]:
        """Compute proposals, (B, P) mask of references inside their image, and grid of the map.

        Points and references are in the frame of the unchanged images, for any view.
        """
        pixels = images.pixels
        if view != VIEWS[0]:
            channels_last = self.data_preprocessor.channels_last  # as the pixels were
            layout = torch.channels_last if channels_last else torch.contiguous_format
            pixels = view.see(pixels).contiguous(memory_format=layout)
        fused = self.decoder(self.backbone(pixels))
        proposals: Proposals = self.head(fused)
        if view != VIEWS[0]:
            size = (images.pixels.shape[3], images.pixels.shape[2])
            proposals = replace(
                proposals,
                points=view.undo(proposals.points, size),
                references=view.undo(proposals.references, size),
            )
        grid = (fused.shape[2], fused.shape[3])
        return proposals, _inside(proposals.references, images), grid


def _inside(references: Tensor, images: Images) -> Tensor:
    """Compute the (B, P) mask of (P, 2) references that lie in their image, half-open."""
    points = references.expand(len(images.sizes), -1, -1)
    return torch.logical_and(points >= 0, points < images.sizes[:, None, :]).all(dim=-1)


def _pooled(views: Sequence[Candidates]) -> Candidates:
    """Concatenate the candidates of all views of an image, each with its share of the score."""
    points, scores = zip(*views, strict=True)
    share = np.concatenate(scores) / len(views)
    return np.concatenate(points), share.astype(np.float32)
