"""Contract tests of counters: trainable parameters are trained, and counts are reproducible."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from cellbench.engine.devices import autocast
from cellbench.engine.stages import enter_stage, learning_parameters
from cellbench.models.batch import Batch
from cellbench.models.counter import CellCounter, Stage, total_loss
from cellbench.models.density_counter import DensityCounter
from cellbench.models.folding import fold_batch_norms
from cellbench.models.point_counter import PointCounter
from cellbench.structures import Prediction
from cellbench.testing.agreement import assert_same_candidates, check_equal
from cellbench.testing.contract_claim import Claim, require
from cellbench.testing.counter_state import (
    a_saved_counter_counts_as_before,
    choosing_candidates_leaves_them_alone,
    counting_changes_no_state,
    one_seed_gives_one_loss,
    training_twice_gives_the_same_counts,
)
from cellbench.testing.cuda_types import check_cuda_inference, check_cuda_step
from cellbench.testing.fake_cuda import READS
from cellbench.testing.samples import CounterCase, CounterSubject, batch_of, images_of, picture

# A gradient of zero in exact arithmetic is rounding noise in float32, far below all others.
NOISE = 1e-7
# (width, height) of pictures and px of the network input per px of them.
SIZES = (((64, 64), 1.0), ((800, 64), 1.0), ((99, 90), 0.5), ((125, 97), 2.0), ((17, 5), 1.0))


def backward_step(counter: CellCounter, batch: Batch, stage: Stage) -> torch.Tensor:
    """Compute the gradients of one step of a stage, in the parameters; returns the loss."""
    counter.train().zero_grad(set_to_none=True)
    learning = learning_parameters(counter)
    with contextlib.ExitStack() as after:
        for _, parameter in learning:
            after.callback(parameter.requires_grad_)
        enter_stage(stage, learning)
        counter.begin_step(stage.name, 0.5)
        loss = total_loss(counter.loss(batch))
        loss.backward()
    return loss.detach()


def largest_gradients(counter: CellCounter, batch: Batch, stage: Stage) -> dict[str, float]:
    """Compute the largest gradient of each parameter in one step of a stage."""
    backward_step(counter, batch, stage)
    return _largest(counter)


def _largest(counter: CellCounter) -> dict[str, float]:
    return {
        name: float(parameter.grad.abs().max())
        for name, parameter in counter.named_parameters()
        if parameter.grad is not None
    }


def check_gradients(counter: CellCounter, side: int = 64) -> None:
    """Require that each parameter is trained in a stage, or in none if listed as untrained."""
    batch = batch_of(counter, picture(side, side, 1), picture(side, side, 2))
    largest = {name: 0.0 for name, _ in counter.named_parameters()}
    for stage in counter.stages:
        found = largest_gradients(counter, batch, stage)
        unlisted = [name for name in found if found[name] and not name.startswith(stage.trained)]
        require(not unlisted, f"stage {stage.name} trains what it does not list: {unlisted}")
        largest |= {name: max(value, largest[name]) for name, value in found.items()}
    listed = tuple(counter.untrained)
    dead = [
        name
        for name, gradient in largest.items()
        if not name.startswith(listed) and not NOISE < gradient < float("inf")
    ]
    require(
        not dead, f"no finite gradient reaches {dead}; list in `untrained` what is not to learn"
    )
    moved = [name for name in largest if name.startswith(listed) and largest[name] > 0]
    require(not moved, f"listed in `untrained`, and a gradient reaches {moved}")
    for prefix, reason in counter.untrained.items():
        known = any(name.startswith(prefix) for name in largest)
        require(known, f"`untrained` lists {prefix!r}, which is the start of no parameter")
        require(len(reason.split()) > 2, f"`untrained` gives no reason for {prefix!r}")


def every_parameter_learns_or_is_listed_with_a_reason(subject: CounterSubject) -> None:
    """See `check_gradients`."""
    check_gradients(subject.counter, subject.case.side)


def _require_finite(subject: CounterSubject, batch: Batch, precision: str = "float32") -> None:
    for stage in subject.counter.stages:
        with autocast(subject.counter.device, precision):
            loss = backward_step(subject.counter, batch, stage)
            gradients = _largest(subject.counter)
        require(bool(torch.isfinite(loss)), f"the loss is {float(loss)} in stage {stage.name}")
        require(bool(gradients), f"no gradient in stage {stage.name}")
        wild = [name for name, gradient in gradients.items() if not math.isfinite(gradient)]
        require(not wild, f"gradients that are no numbers in stage {stage.name}: {wild}")


def images_without_cells_have_a_finite_loss_and_gradient(subject: CounterSubject) -> None:
    """Empty images occur in every data set."""
    side = subject.case.side
    empty = [picture(side, side, cells=0)] * 2
    _require_finite(subject, batch_of(subject.counter, *empty))


def more_cells_than_places_have_a_finite_loss(subject: CounterSubject) -> None:
    """600 cells in 64 x 64 px."""
    crowd = picture(64, 64, cells=600)
    loss = total_loss(
        subject.counter.train().loss(batch_of(subject.counter, crowd, crowd))
    ).detach()
    require(bool(torch.isfinite(loss)), f"the loss is {float(loss)}")


def a_step_in_bfloat16_has_a_finite_loss_and_gradient(subject: CounterSubject) -> None:
    """Dtypes are those of autocast on a CPU."""
    side = subject.case.side
    batch = batch_of(subject.counter, picture(side, side, 1), picture(side, side, 2))
    _require_finite(subject, batch, "bfloat16")


def what_is_trained_is_in_one_parameter_group(subject: CounterSubject) -> None:
    """The optimiser must get each parameter once."""
    groups = subject.counter.parameter_groups(lr=1.0, trunk_lr=0.1)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    wanted = [id(p) for p in subject.counter.parameters() if p.requires_grad]
    require(sorted(grouped) == sorted(wanted), "`parameter_groups` misses or repeats parameters")


def check_prediction(found: Prediction, size: tuple[int, int], scale: float) -> None:
    """Require a finite count of at least 0 that fits map and points, and points in the image."""
    require(isinstance(found.count, float | int), f"a count is a float, not {found.count!r}")
    sound = math.isfinite(found.count) and found.count >= 0
    require(sound, f"the count is {found.count}; it is finite and at least 0")
    if found.density is not None:
        kind = (found.density.ndim, str(found.density.dtype))
        require(kind == (2, "float32"), f"a density is (h, w) float32, not {kind}")
        total = float(found.density.sum(dtype=np.float64))
        near = math.isclose(total, found.count, rel_tol=1e-4, abs_tol=1e-4)
        require(near, f"the density sums to {total}, the count is {found.count}")
    if found.points is None:
        return
    if found.density is None:
        many = len(found.points)
        require(found.count == many, f"{many} points and a count of {found.count}")
    if found.scores is None or len(found.points) != len(found.scores):
        require(False, f"{len(found.points)} points need as many scores")
        return
    kinds = {str(found.points.dtype), str(found.scores.dtype)}
    require(kinds == {"float32"}, f"points and scores are float32, not {kinds}")
    width, height = size
    inside = (found.points >= 0).all() and (found.points < [width / scale, height / scale]).all()
    require(bool(inside), "a point lies outside its image")
    require(bool(((found.scores >= 0) & (found.scores <= 1)).all()), "a score is not in [0, 1]")


def check_counting(counter: CellCounter, size: tuple[int, int], scale: float = 1.0) -> None:
    """Count an image of a size, and check the prediction before and after `select`."""
    pixels, _ = picture(*size)
    (found,) = counter.eval().infer(images_of(counter, [pixels], scale))
    check_prediction(found, size, scale)
    check_prediction(counter.select(found), size, scale)


def an_image_of_any_size_is_counted_with_points_inside_it(subject: CounterSubject) -> None:
    """Sizes are small, long and odd, at several scales."""
    for size, scale in SIZES:
        check_counting(subject.counter, size, scale)


def the_largest_images_are_counted_too(subject: CounterSubject) -> None:
    """798 x 788 px, DCC's largest; it is padded to 800 x 800."""
    check_counting(subject.counter, (798, 788))


def an_image_is_counted_in_bfloat16_too(subject: CounterSubject) -> None:
    """Dtypes are those of autocast on a CPU."""
    counter = subject.counter.eval()
    with torch.inference_mode(), autocast(counter.device, "bfloat16"):
        (found,) = counter.infer(images_of(counter, [picture(96, 64)[0]]))
    check_prediction(found, (96, 64), 1.0)


def check_alike(counter: CellCounter, found: Prediction, expected: Prediction) -> None:
    """Require two predictions of one image to be the same up to rounding."""
    if expected.density is not None:
        atol = 1e-4 * max(float(np.abs(expected.density).max()), 1e-3)
        maps: tuple[Any, Any] = (found.density, expected.density)
        np.testing.assert_allclose(maps[0], maps[1], rtol=1e-4, atol=atol)
    if expected.points is None or expected.density is not None:
        near = math.isclose(found.count, expected.count, rel_tol=1e-4, abs_tol=1e-4)
        require(near, f"counts of {found.count} and {expected.count}")
    else:
        number = None if found.points is None else len(found.points)
        require(found.count == number, f"{number} points and a count of {found.count}")
        # suppression keeps the better of two near candidates: one of some hundred such
        # choices may be between scores, or at a limit, that are equal up to rounding
        ties = 2 if len(expected.points) > 100 else 0
        floor = getattr(counter, "score_floor", None)
        assert_same_candidates(found, expected, floor=floor, ties=ties)


def an_image_is_counted_alike_alone_and_in_a_batch(subject: CounterSubject) -> None:
    """Other images in the batch must not change a prediction."""
    counter = subject.counter.eval()
    arrays = [picture(96, 64, seed)[0] for seed in range(2)]
    together = counter.infer(images_of(counter, arrays))
    require(len(together) == 2, f"{len(together)} predictions for 2 images")
    for name, (array, expected) in enumerate(zip(arrays, together, strict=True)):
        # under the same name, from which a method that samples derives an image's noise
        (alone,) = counter.infer(images_of(counter, [array], names=[str(name)]))
        check_alike(counter, alone, expected)


def an_image_is_counted_alike_with_and_without_its_norms_folded(subject: CounterSubject) -> None:
    """Batch norms are folded into convolutions for counting."""
    counter = subject.counter.eval()
    images = images_of(counter, [picture(96, 64)[0]])
    (expected,) = counter.infer(images)
    (found,) = fold_batch_norms(counter).infer(images)
    check_alike(counter, found, expected)


def an_image_counted_twice_has_the_same_candidates_in_the_same_order(
    subject: CounterSubject,
) -> None:
    """Inference must be deterministic."""
    counter = subject.counter.eval()
    images = images_of(counter, [picture(96, 64)[0]])
    check_equal(*counter.infer(images), *counter.infer(images))


def _unless_it_reads(check: Callable[[CounterCase], None], subject: CounterSubject) -> None:
    """Run a check, and accept reads from the device except in point and density counters.

    A read waits for the GPU, which is slow but no error; `PointCounter` and `DensityCounter` need
    none.
    """
    try:
        check(subject.case)
    except READS:
        if isinstance(subject.counter, PointCounter | DensityCounter):
            require(False, "it reads numbers from the device, where the host waits for the GPU")


def a_step_runs_as_cudas_autocast_types_it(subject: CounterSubject) -> None:
    """See `check_cuda_step`."""
    _unless_it_reads(check_cuda_step, subject)


def counting_runs_as_cudas_autocast_types_it(subject: CounterSubject) -> None:
    """See `check_cuda_inference`."""
    _unless_it_reads(check_cuda_inference, subject)


STEP_CLAIMS: tuple[Claim, ...] = (
    every_parameter_learns_or_is_listed_with_a_reason,
    images_without_cells_have_a_finite_loss_and_gradient,
    more_cells_than_places_have_a_finite_loss,
    what_is_trained_is_in_one_parameter_group,
    one_seed_gives_one_loss,
)
"""Claims about counters that are trained by steps."""

COUNTING_CLAIMS: tuple[Claim, ...] = (
    an_image_of_any_size_is_counted_with_points_inside_it,
    an_image_is_counted_in_bfloat16_too,
    an_image_is_counted_alike_alone_and_in_a_batch,
    an_image_is_counted_alike_with_and_without_its_norms_folded,
    an_image_counted_twice_has_the_same_candidates_in_the_same_order,
    choosing_candidates_leaves_them_alone,
    counting_changes_no_state,
    a_saved_counter_counts_as_before,
)
"""Claims about every counter."""

FIT_CLAIMS: tuple[Claim, ...] = (training_twice_gives_the_same_counts,)
"""Claims about counters that train themselves."""

CUDA_CLAIMS: tuple[Claim, ...] = (
    a_step_runs_as_cudas_autocast_types_it,
    counting_runs_as_cudas_autocast_types_it,
)
"""Claims about counters that are trained by steps, checked without a GPU."""
