"""Contract tests of matchers, convolutions, decoders, heads, backbones and losses."""

import copy
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cellbench.models.counter import total_loss
from cellbench.models.parts import Matcher, Pairs, ProposalLoss, Proposals
from cellbench.registry import CONVS
from cellbench.testing.contract_claim import Claim, require
from cellbench.testing.counters import (
    CounterSubject,
    an_image_counted_twice_has_the_same_candidates_in_the_same_order,
    an_image_is_counted_alike_alone_and_in_a_batch,
    check_gradients,
    images_without_cells_have_a_finite_loss_and_gradient,
)
from cellbench.testing.cuda_types import check_cuda_inference, check_cuda_step
from cellbench.testing.density_targets import TARGET_CLAIMS
from cellbench.testing.fake_cuda import READS
from cellbench.testing.part_subject import HOSTS, PartSubject


def a_counter_with_it_learns(subject: PartSubject) -> None:
    """Every parameter of a counter with the part receives a gradient."""
    torch.manual_seed(0)
    check_gradients(subject.host().build())


def a_counter_with_it_learns_from_images_without_cells(subject: PartSubject) -> None:
    """Empty images occur in every data set."""
    images_without_cells_have_a_finite_loss_and_gradient(_hosted(subject))


def a_counter_with_it_counts_an_image_alike_alone_and_in_a_batch(subject: PartSubject) -> None:
    """Inference must be deterministic, and independent of other images in the batch."""
    hosted = _hosted(subject)
    an_image_counted_twice_has_the_same_candidates_in_the_same_order(hosted)
    an_image_is_counted_alike_alone_and_in_a_batch(hosted)


def _hosted(subject: PartSubject) -> CounterSubject:
    torch.manual_seed(0)
    host = subject.host()
    return CounterSubject(host, host.build(), stepped=True)


def its_maps_have_the_shapes_that_it_states(subject: PartSubject) -> None:
    """Channels and strides must be as stated, since points are placed by them."""
    counter = subject.host().build().eval()
    multiple = 32
    with torch.no_grad():
        maps = counter.backbone(torch.randn(1, 3, 2 * multiple, 3 * multiple))
        stated = list(counter.backbone.shapes)
        if subject.role == "decoder":
            maps, stated = [counter.decoder(maps)], [counter.decoder.shape]
    found = [tuple(one.shape) for one in maps]
    wanted = [
        (1, shape.channels, 2 * multiple // shape.stride, 3 * multiple // shape.stride)
        for shape in stated
    ]
    require(found == wanted, f"its maps are {found}, and it states shapes for {wanted}")


def what_lies_in_padding_changes_no_loss(subject: PartSubject) -> None:
    """A proposal whose reference lies in padding is not trained; it may hold anything."""
    loss = subject.build()
    if not isinstance(loss, ProposalLoss):
        return
    points, logits = torch.rand(2, 12, 2) * 40, torch.randn(2, 12)
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[:, 9:] = False
    pairs = Pairs(torch.tensor([0, 1, 1]), torch.tensor([2, 0, 5]), torch.rand(3, 2) * 40)
    losses = []
    for other in (0.0, 3.0):
        moved = Proposals(points + other * ~valid[..., None], logits + other * ~valid, points[0], 4)
        losses.append(float(total_loss(loss(moved, pairs, valid)).detach()))
    require(losses[0] == losses[1], "the loss depends on proposals in padding; leave them out")


def a_counter_with_it_runs_as_cudas_autocast_types_it(subject: PartSubject) -> None:
    """No dtypes or devices are mixed, and no number is read from the device."""
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
    return _pairs(matcher, *_scene(*shape, seed=seed))


def _pairs(
    matcher: Matcher, proposals: Tensor, scores: Tensor, places: Tensor
) -> tuple[Tensor, Tensor]:
    """Match a scene, and require one-to-one pairs."""
    shape = len(proposals), len(places)
    rows, cells = matcher.match(proposals, scores, places, scale=1.5)
    for found in (rows, cells):
        kind = (found.dtype, tuple(found.shape))
        wanted = (torch.int64, (min(shape),))
        require(
            kind == wanted,
            f"for {shape[0]} proposals and {shape[1]} cells it answers {kind}, not {wanted}",
        )
    for found, number in zip((rows, cells), shape, strict=True):
        require(len(found.unique()) == len(found), f"{shape}: something is paired twice")
        inside = bool(((found >= 0) & (found < number)).all())
        require(inside, f"{shape}: a row does not exist")
    return rows, cells


def each_proposal_and_each_cell_is_in_one_pair_at_most(subject: PartSubject) -> None:
    """As many pairs as the smaller side has members, and no member twice."""
    for shape in ((200, 40), (40, 200), (30, 30), (1, 5), (5, 1), (1, 1)):
        _matched(subject.build(), shape)


def cells_and_proposals_in_one_place_are_paired_too(subject: PartSubject) -> None:
    """Two cells may lie in one pixel, and an untrained network may put its points in one place."""
    many, scores, cells = _scene(9, 6)
    one = torch.full((6, 2), 7.5)
    for places, wanted in ((many, one), (one, cells), (one, one), (cells, cells)):
        _pairs(subject.build(), places, scores[: len(places)], wanted)


def a_cell_is_paired_with_the_proposal_that_lies_on_it(subject: PartSubject) -> None:
    """Scores are equal and all other proposals far; x and y are not exchanged."""
    grid = torch.cartesian_prod(torch.arange(4.0), torch.arange(3.0))
    cells = grid * torch.tensor([30.0, 41.0]) + 10.5
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(cells)))
    proposals = torch.cat([cells + 400.0, cells[order]])
    rows, which = _pairs(subject.build(), proposals, torch.full((len(proposals),), 0.5), cells)
    far = float((proposals[rows] - cells[which]).abs().max())
    require(far == 0, f"it pairs a cell with a proposal {far:g} px away, and one lies on it")


def matching_leaves_its_arguments_alone(subject: PartSubject) -> None:
    """Training reads the cells for its loss from the arrays that it passed."""
    given = [part.numpy() for part in _scene(20, 12)]
    kept = copy.deepcopy(given)
    subject.build().match_arrays(*given, scale=1.5)
    require(all(map(np.array_equal, given, kept)), "it changes the arrays that it is given")


def images_matched_at_once_change_nothing(subject: PartSubject) -> None:
    """Training matches the images of a batch in threads."""
    matcher, scenes = subject.build(), range(24)
    shapes = [(30 + seed % 5, 20 + seed % 7) for seed in scenes]
    alone = [_matched(matcher, shape, seed) for seed, shape in enumerate(shapes)]
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(partial(_matched, matcher), shapes, scenes))
    except Exception as error:
        require(False, f"called from several threads it fails ({error}): it keeps state in itself")
        return
    pairs = zip(alone, together, strict=True)
    same = all(torch.equal(*both) for one, other in pairs for both in zip(one, other, strict=True))
    require(same, "called from several threads it pairs differently: it keeps state in itself")


def nothing_to_match_gives_no_pairs(subject: PartSubject) -> None:
    """Either side may be empty."""
    for shape in ((0, 4), (4, 0), (0, 0)):
        _matched(subject.build(), shape)


def images_matched_before_change_nothing(subject: PartSubject) -> None:
    """A matcher that is called again after other images must return the same pairs."""
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
    """A convolution must change channels only."""
    for channels, out_channels, height, width in ((24, 40, 5, 3), (24, 24, 19, 25), (8, 8, 1, 7)):
        conv = CONVS.build(subject.config, in_channels=channels, out_channels=out_channels).eval()
        found = tuple(conv(torch.randn(2, channels, height, width)).shape)
        wanted = (2, out_channels, height, width)
        require(found == wanted, f"it answers {found} for {wanted}")


def an_image_alone_answers_as_in_a_batch(subject: PartSubject) -> None:
    """Other images in the batch must not change a result in evaluation."""
    torch.manual_seed(0)
    conv = CONVS.build(subject.config, in_channels=16, out_channels=16).eval()
    x = torch.randn(3, 16, 9, 20)
    with torch.no_grad():
        together = [conv(x) for _ in range(2)]
        alone = conv(x[1:2])
    require(torch.equal(*together), "in evaluation the same images have two answers")
    far = float((together[0][1:2] - alone).abs().max())
    same = torch.allclose(together[0][1:2], alone, rtol=1e-4, atol=1e-5)
    require(same, f"the answer for an image depends on its neighbours in the batch, by {far:.2g}")


MATCHER_CLAIMS: tuple[Claim, ...] = (
    each_proposal_and_each_cell_is_in_one_pair_at_most,
    nothing_to_match_gives_no_pairs,
    cells_and_proposals_in_one_place_are_paired_too,
    a_cell_is_paired_with_the_proposal_that_lies_on_it,
    matching_leaves_its_arguments_alone,
    images_matched_at_once_change_nothing,
    images_matched_before_change_nothing,
    arrays_are_matched_as_tensors_are,
)
CONV_CLAIMS: tuple[Claim, ...] = (height_and_width_stay, an_image_alone_answers_as_in_a_batch)
LOSS_CLAIMS: tuple[Claim, ...] = (what_lies_in_padding_changes_no_loss,)
MAP_CLAIMS: tuple[Claim, ...] = (its_maps_have_the_shapes_that_it_states,)
HOSTED_CLAIMS: tuple[Claim, ...] = (
    a_counter_with_it_learns,
    a_counter_with_it_learns_from_images_without_cells,
    a_counter_with_it_counts_an_image_alike_alone_and_in_a_batch,
    a_counter_with_it_runs_as_cudas_autocast_types_it,
)
"""Claims about every part of a counter, tested within a counter."""

_OWN: Mapping[str, tuple[Claim, ...]] = {
    "matcher": MATCHER_CLAIMS,
    "conv": CONV_CLAIMS,
    "target": TARGET_CLAIMS,
    "loss": LOSS_CLAIMS,
    "backbone": MAP_CLAIMS,
    "decoder": MAP_CLAIMS,
}

CLAIMS: Mapping[str, tuple[Claim, ...]] = {
    role: _OWN.get(role, ()) + HOSTED_CLAIMS for role in HOSTS
}
"""Claims by role."""
