"""Contract tests of a counter's state: one result per seed, and all of it in the state dict."""

import copy

import numpy as np
import torch
from safetensors.torch import load, save

from cellbench.models.counter import CellCounter, ValidationSet, total_loss
from cellbench.structures import CellSample
from cellbench.testing.agreement import check_equal
from cellbench.testing.contract_claim import require
from cellbench.testing.samples import CounterSubject, batch_of, images_of, picture

RADIUS_PX = 4.0


def one_seed_gives_one_loss(subject: CounterSubject) -> None:
    """Random numbers in a step must come from torch's generator alone, which a run seeds."""
    side, losses = subject.case.side, []
    for _ in range(2):
        counter = copy.deepcopy(subject.counter).train()
        torch.manual_seed(0)
        batch = batch_of(counter, picture(side, side, 1), picture(side, side, 2))
        counter.begin_step(counter.stages[0].name, 0.0)
        losses.append(float(total_loss(counter.loss(batch)).detach()))
    require(losses[0] == losses[1], f"of the same seed and batch the loss is {losses[0]}, then "
            f"{losses[1]}; draw from torch's generator alone")  # fmt: skip


def training_twice_gives_the_same_counts(subject: CounterSubject) -> None:
    """The result of `fit` must depend on its arguments alone."""
    images = images_of(subject.counter, [picture(64, 64)[0]])
    (first,) = subject.counter.eval().infer(images)
    again, _ = subject.case.build_trained()
    (second,) = again.eval().infer(images)
    require(first.count == second.count, f"trained twice on the same images it counts "
            f"{first.count} and {second.count}")  # fmt: skip
    check_equal(first, second)


def choosing_candidates_leaves_them_alone(subject: CounterSubject) -> None:
    """`select` is called again with other thresholds on the candidates of one `infer`."""
    counter = subject.counter.eval()
    (candidates,) = counter.infer(images_of(counter, [picture(64, 64)[0]]))
    before = copy.deepcopy(candidates)
    first, second = counter.select(candidates), counter.select(candidates)
    try:
        check_equal(candidates, before)
        check_equal(first, second)
    except AssertionError as error:
        require(False, f"`select` changes the candidates that it is given ({error})")


def counting_changes_no_state(subject: CounterSubject) -> None:
    """Weights, buffers and evaluation mode must stay as they were."""
    before = {name: value.clone() for name, value in subject.counter.state_dict().items()}
    subject.counter.eval().predict(images_of(subject.counter, [picture(64, 64)[0]]))
    changed = [n for n, v in subject.counter.state_dict().items() if not v.equal(before[n])]
    require(not changed, f"counting changes {changed}")
    training = [name or "the counter" for name, m in subject.counter.named_modules() if m.training]
    require(not training, f"counting leaves {training[:3]} in training mode")


def a_saved_counter_counts_as_before(subject: CounterSubject) -> None:
    """The state dict must hold all that it needs, with what was chosen on validation images."""
    counter = subject.counter.eval()
    _calibrate(counter)
    if hasattr(counter, "threshold"):
        counter.threshold.fill_(0.123)
    state = {name: value.contiguous() for name, value in counter.state_dict().items()}
    other = subject.case.build().eval()
    other.load_state_dict(load(save(state)))
    arrays = [picture(64, 96)[0]]
    (expected,) = counter.predict(images_of(counter, arrays))
    (found,) = other.predict(images_of(other, arrays))
    require(
        found.count == expected.count,
        f"it counts {expected.count}, and from its state dict {found.count}; what is learned or "
        "chosen is a parameter, a buffer or in `get_extra_state`",
    )
    check_equal(found, expected)


def _calibrate(counter: CellCounter) -> None:
    """Calibrate on two small images, as after a training."""
    drawn = [picture(64, 64, seed) for seed in (3, 4)]
    candidates = counter.infer(images_of(counter, [pixels for pixels, _ in drawn]))
    truth = [
        CellSample(str(index), points.astype(np.float32), (64, 64))
        for index, (_, points) in enumerate(drawn)
    ]
    counter.calibrate(ValidationSet(candidates, truth, RADIUS_PX))
