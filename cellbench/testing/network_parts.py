"""The contracts of matchers, convolutions, decoders, heads, backbones and targets, as tests."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellbench.config.sources import find_config, load_file
from cellbench.models.parts import DensityTarget, Matcher
from cellbench.registry import CONVS, REGISTRIES, TARGETS
from cellbench.testing.contract_claim import Claim, require
from cellbench.testing.counters import check_gradients
from cellbench.testing.cuda_types import check_cuda_inference, check_cuda_step
from cellbench.testing.fake_cuda import READS
from cellbench.testing.samples import CounterCase

# A method that has a place for each role.
HOSTS = {
    "target": "cellbench:methods/csrnet.py",
    **dict.fromkeys(
        ("backbone", "conv", "decoder", "head", "matcher", "loss"), "cellbench:methods/p2pnet.py"
    ),
}


@dataclass(frozen=True, slots=True)
class PartSubject:
    """A part under test.

    Attributes:
        role: as in `cellbench.registry.REGISTRIES`.
        config: `type` and options, as in a method's config.
        model: of a method that uses it so; None for one of cellbench's with the part in its place.
    """

    role: str
    config: Mapping[str, Any]
    model: Mapping[str, Any] | None = None

    def build(self, **given: Any) -> Any:
        """The part."""
        return REGISTRIES[self.role].build(self.config, **given)

    def host(self) -> CounterCase:
        """The method that it is tried in."""
        if self.model is not None:
            return CounterCase(str(self.config["type"]), self.model)
        model = copy.deepcopy(load_file(find_config(HOSTS[self.role]))["model"])
        if self.role == "conv":
            model["decoder"]["conv"] = dict(self.config)
        else:
            model[self.role] = dict(self.config)
        return CounterCase(str(self.config["type"]), model)


def a_counter_with_it_learns(subject: PartSubject) -> None:
    """Every parameter of a counter with the part receives a gradient."""
    torch.manual_seed(0)
    check_gradients(subject.host().build())


def a_counter_with_it_runs_as_cudas_autocast_types_it(subject: PartSubject) -> None:
    """No two number formats or devices meet, and no number is read from the device."""
    for check in (check_cuda_step, check_cuda_inference):
        try:
            check(subject.host())
        except READS as error:
            require(
                False,
                "it reads numbers from the device, where the host waits for the GPU "
                f"({' '.join(str(error).split())[:200]})",
            )


def _scene(proposals: int, cells: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return (
        torch.from_numpy(rng.random((proposals, 2)) * 40).float(),
        torch.from_numpy(rng.random(proposals)).float(),
        torch.from_numpy(rng.random((cells, 2)) * 40).float(),
    )


def _matched(matcher: Matcher, shape: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    rows, cells = matcher.match(*_scene(*shape, seed=seed), scale=1.5)
    for found in (rows, cells):
        kind = (found.dtype, tuple(found.shape))
        wanted = (torch.int64, (min(shape),))
        require(
            kind == wanted,
            f"for {shape[0]} proposals and {shape[1]} cells it answers {kind}, not {wanted}",
        )
    return rows, cells


def each_proposal_and_each_cell_is_in_one_pair_at_most(subject: PartSubject) -> None:
    """As many pairs as the smaller side has members, and no member twice."""
    for shape in ((200, 40), (40, 200), (30, 30), (1, 5), (5, 1), (1, 1)):
        for found, number in zip(_matched(subject.build(), shape), shape, strict=True):
            require(len(found.unique()) == len(found), f"{shape}: something is paired twice")
            inside = bool(((found >= 0) & (found < number)).all())
            require(inside, f"{shape}: a row does not exist")


def nothing_to_match_gives_no_pairs(subject: PartSubject) -> None:
    """Either side may be empty."""
    for shape in ((0, 4), (4, 0), (0, 0)):
        _matched(subject.build(), shape)


def images_matched_before_change_nothing(subject: PartSubject) -> None:
    """The same matcher, asked again after others, gives the same pairs."""
    matcher = subject.build()
    first = _matched(matcher, (30, 20))
    for seed in (1, 2):
        _matched(matcher, (25, 35), seed=seed)
    again = _matched(matcher, (30, 20))
    require(all(map(torch.equal, first, again)), "it keeps state from call to call")


def arrays_are_matched_as_tensors_are(subject: PartSubject) -> None:
    """Training calls `match_arrays`."""
    matcher = subject.build()
    scene = _scene(30, 20)
    arrays = [part.numpy() for part in scene]
    rows, cells = matcher.match(*scene, scale=1.5)
    found = matcher.match_arrays(*arrays, scale=1.5)
    same = np.array_equal(found[0], rows.numpy()) and np.array_equal(found[1], cells.numpy())
    require(same, "`match_arrays` and `match` pair differently")


def height_and_width_stay(subject: PartSubject) -> None:
    """A convolution changes channels alone."""
    for channels, out_channels, height, width in ((24, 40, 5, 3), (24, 24, 19, 25), (8, 8, 1, 7)):
        conv = CONVS.build(subject.config, in_channels=channels, out_channels=out_channels).eval()
        found = tuple(conv(torch.randn(2, channels, height, width)).shape)
        wanted = (2, out_channels, height, width)
        require(found == wanted, f"it answers {found} for {wanted}")


def an_image_alone_answers_as_in_a_batch(subject: PartSubject) -> None:
    """Neighbours in a batch change nothing in evaluation."""
    torch.manual_seed(0)
    conv = CONVS.build(subject.config, in_channels=16, out_channels=16).eval()
    x = torch.randn(3, 16, 9, 20)
    torch.testing.assert_close(conv(x)[1:2], conv(x[1:2]), rtol=1e-4, atol=1e-5)


def a_target_flips_and_turns_with_its_points(subject: PartSubject, *, margin_px: int = 0) -> None:
    """Dots in the middle of pixels, as annotations are: mirroring them is exact."""
    points = _dots(0)
    flipped = torch.stack([64 - points[:, 0], points[:, 1]], dim=1)
    for stride in (1, 2, 4, 8):
        turned = [points, flipped, points.flip(1)]
        (plain, mirrored, transposed), _ = _maps(subject, turned, stride, margin_px)
        torch.testing.assert_close(mirrored, plain.flip(1), rtol=0, atol=1e-6)
        torch.testing.assert_close(transposed, plain.mT, rtol=0, atol=1e-6)


def a_target_sums_to_its_points_everywhere(subject: PartSubject, *, margin_px: int = 0) -> None:
    """At borders, in corners, several in one pixel, one alone and none."""
    corners = torch.tensor([[0.0, 0.0], [63.99, 63.99], [0.5, 63.5], [30.0, 0.1], [63.9, 31.0]])
    shared = torch.tensor([[20.5, 20.5], [20.5, 20.5], [20.5, 20.5]])
    alone, nothing = torch.tensor([[40.2, 9.7]]), torch.zeros(0, 2)
    points = [corners, shared, alone, nothing, _dots(1, number=200)]
    wanted = torch.tensor([len(own) for own in points], dtype=torch.float64)
    for stride in (1, 2, 4, 8):
        maps, unit = _maps(subject, points, stride, margin_px, scale=0.75)
        sums = maps.sum(dim=(1, 2), dtype=torch.float64) / unit
        torch.testing.assert_close(sums, wanted, rtol=0, atol=1e-4)


def _dots(seed: int, number: int = 40, size: int = 64) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, size, (number, 2)).astype(np.float32) + 0.5)


def _maps(
    subject: PartSubject,
    points: Sequence[Tensor],
    stride: int,
    margin_px: int,
    *,
    size: int = 64,
    scale: float = 1.0,
) -> tuple[Tensor, float]:
    """The (B, rows, columns) maps of a target for square images, and what one cell sums to."""
    target: DensityTarget = TARGETS.build(subject.config)
    cells = (size + 2 * margin_px) // stride
    sizes = torch.tensor([[size, size]]).expand(len(points), 2)
    maps = target.make(points, sizes, (cells, cells), stride=stride, scale=scale)
    kind = (maps.dtype, tuple(maps.shape))
    wanted = (torch.float32, (len(points), 1, cells, cells))
    require(kind == wanted, f"its maps are {kind}, not {wanted}")
    return maps.squeeze(1), target.unit


MATCHER_CLAIMS: tuple[Claim, ...] = (
    each_proposal_and_each_cell_is_in_one_pair_at_most,
    nothing_to_match_gives_no_pairs,
    images_matched_before_change_nothing,
    arrays_are_matched_as_tensors_are,
)
CONV_CLAIMS: tuple[Claim, ...] = (height_and_width_stay, an_image_alone_answers_as_in_a_batch)
TARGET_CLAIMS: tuple[Claim, ...] = (
    a_target_flips_and_turns_with_its_points,
    a_target_sums_to_its_points_everywhere,
)
HOSTED_CLAIMS: tuple[Claim, ...] = (
    a_counter_with_it_learns,
    a_counter_with_it_runs_as_cudas_autocast_types_it,
)
"""Of every part that a counter is made of."""

CLAIMS: Mapping[str, tuple[Claim, ...]] = {
    role: {"matcher": MATCHER_CLAIMS, "conv": CONV_CLAIMS, "target": TARGET_CLAIMS}.get(role, ())
    + HOSTED_CLAIMS
    for role in HOSTS
}
"""By role."""
