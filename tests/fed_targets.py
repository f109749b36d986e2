"""Counters whose networks are replaced by the targets that they are trained towards.

What such a counter still gets wrong lies in its targets and in how its output is read: no training
could mend it.
"""

from dataclasses import dataclass
from types import MethodType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellbench.config.compose import resolve
from cellbench.config.sources import config_folders
from cellbench.metrics.scores import score
from cellbench.models.batch import Batch, Images
from cellbench.models.build import build_counter
from cellbench.models.counter import CellCounter, ValidationSet
from cellbench.models.density_counter import DensityCounter
from cellbench.models.matching import match_batch
from cellbench.models.parts import DensityOutput, Proposals
from cellbench.models.point_counter import PointCounter
from cellbench.structures import CellSample
from cellbench.testing.samples import images_of
from cellbench_plugins._ops.count_classes import class_of
from cellbench_plugins._ops.diffusion import dot_maps
from cellbench_plugins._ops.lattice import lattice
from cellbench_plugins.methods.cellpose import _FLOW_SCALE, Cellpose
from cellbench_plugins.methods.dcl import DCL
from cellbench_plugins.methods.diffusedenoise import DiffuseDenoise
from cellbench_plugins.methods.fasterrcnn import FasterRCNN
from cellbench_plugins.methods.libranet import LibraNet
from cellbench_plugins.methods.stardist import StarDist


@dataclass(frozen=True)
class Shortfall:
    """What a method gets wrong even if it answers as it is trained to.

    Attributes:
        why: a phrase.
        count: most relative error of all counts together.
        f1: least F1.
    """

    why: str
    count: float = 0.01
    f1: float = 0.98


NOTHING_TO_FEED = {
    "bloblog": "nothing is trained: settings are chosen",
    "watershed": "nothing is trained: settings are chosen",
    "blobforest": "it is grown on blobs, not trained towards a map",
    "meancount": "it learns one number, whatever the image",
    "cellpose_zeroshot": "the tool comes with weights of its own",
    "stardist_zeroshot": "the tool comes with weights of its own",
}

_STRIDE_8 = Shortfall("maxima of a map of stride 8 are at least 16 px apart, cells 4 to 9", f1=0.45)
_STRIDE_4 = Shortfall("maxima of a map of stride 4 are at least 8 px apart, cells 4 to 9", f1=0.70)
_SIGMA_2 = Shortfall("Gaussians of 2 px that are less than 4 px apart have one maximum", f1=0.93)
_BOXES = Shortfall("boxes of which 0.4 overlap suppress each other", count=0.04)

SHORTFALLS = {
    "countception": Shortfall("spots less than 4 px apart have one maximum", f1=0.94),
    "countception_published": Shortfall("spots less than 4 px apart have one maximum", f1=0.94),
    "csrnet": _STRIDE_8,
    "csrnet_published": _STRIDE_8,
    "dcl": _SIGMA_2,
    "diffusedenoise": Shortfall("dots in touching cells of 2 px are one", count=0.075, f1=0.96),
    "dla_paper": Shortfall("peaks are at least two cells of 4 px apart", count=0.25, f1=0.86),
    "dla_released": Shortfall("its cost pairs cells with far references, where they stay", f1=0.0),
    "dmcount": _STRIDE_8,
    "dmcount_published": _STRIDE_8,
    "fasterrcnn": _BOXES,
    "fasterrcnn_resnet50": _BOXES,
    "fcrn": _SIGMA_2,
    "fcrn_b": _SIGMA_2,
    "fcrn_published": Shortfall("Gaussians of 1 px less than 3 px apart have one maximum", f1=0.97),
    "mcnn": _STRIDE_4,
    "mcnn_published": _STRIDE_4,
    "ordinalentropy": _STRIDE_8,
    "pgcnet": _SIGMA_2,
    "sasnet": Shortfall("Gaussians of 4 px less than 8 px apart have one maximum", f1=0.77),
    "saunet": _SIGMA_2,
    "saunet_published": _SIGMA_2,
    "sfcn": _STRIDE_8,
    "sfcn_published": _STRIDE_8,
    "sfcn_resnet101": _STRIDE_8,
    "stardist": Shortfall("peaks on a grid of 2 px are at least 4 px apart", count=0.02),
    "unet": _SIGMA_2,
    "unetpeaks": Shortfall("of peaks up to 2 px apart the best alone is one", count=0.03),
}

SURE = 8.0
"""Logit of what is certain."""


METHODS = sorted(path.stem for path in (config_folders()[-1] / "methods").glob("*.py"))


@dataclass(frozen=True)
class Read:
    """How far counts and places of fed counters are from the annotations, over all images.

    Attributes:
        excess: counted cells over annotated ones, less 1.
        worst: largest such number of an image, without its sign.
        f1: of the points; None without points.
    """

    excess: float
    worst: float
    f1: float | None


def build_empty(method: str) -> tuple[CellCounter, float]:
    """The counter of a method's config for VGG, and the scale of the images that it sees.

    Its weights are whatever memory holds.
    """
    config = resolve(f"methods/{method}", dataset="vgg")
    with pytest.MonkeyPatch.context() as patch:
        for name in dir(nn.init):  # most of the time of building is their random numbers
            if name.endswith("_") and not name.startswith("_"):
                patch.setattr(nn.init, name, lambda tensor, *given, **options: tensor)
        return build_counter(config.model, load_weights=False), config.data.input_scale


def read_targets(counter: CellCounter, scale: float, pictures: list, radius_px: float) -> Read:
    """Count pictures with a counter that is fed its targets; its threshold is chosen on them.

    Args:
        counter: see `build_empty`.
        scale: whole number of px of its input per px of a picture.
        pictures: pairs of (H, W, 3) uint8 pixels and (A, 2) float32 points.
        radius_px: match radius.
    """
    counter.eval()
    candidates, truth = [], []
    for number, (pixels, points) in enumerate(pictures):
        large = pixels.repeat(int(scale), 0).repeat(int(scale), 1)  # what it shows is not looked at
        images = images_of(counter, [large], scale, names=[str(number)])
        feed(counter, Batch(images, [torch.from_numpy(points * np.float32(scale))]))
        candidates += counter.infer(images)
        truth.append(CellSample(str(number), points, (pixels.shape[1], pixels.shape[0])))
    counter.calibrate(ValidationSet(candidates, truth, radius_px))
    found = [counter.select(candidate) for candidate in candidates]
    scores = score(truth, found, radius_px=radius_px)
    excess = [row["prediction"] / row["truth"] - 1 for row in scores.images]
    total = sum(row["prediction"] for row in scores.images)
    return Read(total / scores.metrics["cells"] - 1, max(map(abs, excess)), scores.metrics["f1"])


def feed(counter: CellCounter, batch: Batch) -> None:
    """Replace what the counter's network answers by what it is trained to answer."""
    (_, _, height, width) = batch.images.pixels.shape
    (points,) = batch.points
    if isinstance(counter, PointCounter):
        counter._propose = MethodType(_propose_cells(batch), counter)
    elif isinstance(counter, DCL):
        size = (height // counter.readout.stride, width // counter.readout.stride)
        coarse = DensityOutput(counter.wanted(batch, size), torch.zeros(1), size, 1.0)
        fine = counter.fine_target.make(
            batch.points, batch.images.sizes, (height, width), stride=1, scale=1.0
        )
        scale = counter.localiser.scale
        counter.localiser = _Answer(fine / counter.fine_target.unit)
        counter.localiser.scale = scale
        counter.network = lambda pixels: (coarse.density, coarse.features)
    elif isinstance(counter, DensityCounter):
        reach = getattr(counter.target, "window", 0)
        grid = tuple((side + reach) // counter.readout.stride for side in (height, width))
        counter.network = lambda pixels: (counter.wanted(batch, grid), torch.zeros(1))
    elif isinstance(counter, Cellpose):
        flow, labels = counter.targets([points], (width, height), batch.images.scale)
        logits = torch.where(labels > 0, SURE, -SURE)
        counter.net = _Answer(torch.cat([_FLOW_SCALE * flow, logits[:, None]], dim=1))
    elif isinstance(counter, StarDist):
        grid = counter.grid
        depth, lengths = counter.targets(points, (width // grid, height // grid), 1.0)
        counter.net = _Answer((torch.logit(depth, eps=1e-6)[None, None], lengths[None]))
    elif isinstance(counter, FasterRCNN):
        boxes = counter.pseudo_boxes(points, 1.0, torch.tensor([width, height]))
        counter._maps = lambda images: {}
        counter.proposer = _Answer(([boxes], {}))
        counter.judge.box_roi_pool = _Answer(boxes)
        counter.judge.box_head = nn.Identity()
        verdict = torch.tensor([-SURE / 2, SURE / 2]).expand(len(boxes), 2)
        counter.judge.box_predictor = _Answer((verdict, torch.zeros(len(boxes), 8)))
    elif isinstance(counter, DiffuseDenoise):
        side = (height // counter.stride, width // counter.stride)
        drawn = dot_maps(batch.points, side, stride=counter.stride, sigma=counter.sigma)
        answer = drawn.expand(-1, counter.samples, -1, -1), torch.ones_like(drawn) > 0
        counter.draw = lambda images: answer
    elif isinstance(counter, LibraNet):
        features = torch.zeros(1, 1, height // 32, width // 32)
        wanted, _ = counter._true_counts(batch, features)
        counter._features = lambda images: features
        counter.weigh = lambda vectors: (class_of(wanted.flatten(), counter.bounds), None)
    else:
        raise TypeError(f"{type(counter).__name__} learns nothing that it could be fed")


class _Answer(nn.Module):
    """Answers the same whatever it is given."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *given: object) -> object:
        """What it was made with."""
        return self.answer


def _propose_cells(batch: Batch):
    """Each cell by the proposal that is matched with it when none is better than another."""
    size = (batch.images.pixels.shape[2], batch.images.pixels.shape[3])

    def propose(
        counter: PointCounter, images: Images, view: object = None
    ) -> tuple[Proposals, Tensor, tuple[int, int]]:
        spacing = counter.head.spacing_px
        grid = tuple(round(side / spacing) for side in size)
        references = lattice(grid, spacing, images.pixels.device)
        points, valid = references[None].clone(), torch.ones(1, len(references)) > 0
        logits = torch.zeros(1, len(references))
        proposals = Proposals(points, logits, references, spacing)
        pairs = match_batch(counter.matcher, proposals, valid, batch.host_points, scale=1.0)
        logits = torch.full_like(logits, -SURE)
        logits[0, pairs.row] = SURE
        if counter.criterion.trains_points:
            points[0, pairs.row] = pairs.cell
        return Proposals(points, logits, references, spacing), valid, grid

    return propose
