"""Claims about batch norms that are folded into the convolutions before them."""

import copy

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from cellbench.models.folding import fold_batch_norms
from cellbench.registry import BACKBONES


def moved(network, seed=0):
    """The network in evaluation mode, its norms far from the identity."""
    generator = torch.Generator().manual_seed(seed)
    for norm in norms(network):
        size = norm.running_mean.shape
        norm.running_mean.copy_(torch.randn(size, generator=generator))
        norm.running_var.copy_(torch.rand(size, generator=generator) + 0.5)
        if norm.weight is not None:
            norm.weight.data.copy_(torch.rand(size, generator=generator) + 0.5)
            norm.bias.data.copy_(torch.randn(size, generator=generator))
    return network.eval()


def norms(network):
    kinds = nn.BatchNorm2d, FrozenBatchNorm2d
    return [m for m in network.modules() if isinstance(m, kinds)]


def answers(network, side=64):
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    found = network(x.to(next(network.parameters()).dtype))
    return list(found) if isinstance(found, list | tuple) else [found]


@pytest.mark.parametrize(
    "network",
    [
        lambda: BACKBONES.get("VGG16")(weights=None, strides=(2, 4)),
        lambda: BACKBONES.get("VGG16")(weights=None, strides=(2, 4), frozen_stages=1),
        lambda: BACKBONES.get("ResNet")(depth=18, weights=None, frozen_stages=2),
        lambda: BACKBONES.get("ResNet")(depth=50, stages=2, weights=None),
        lambda: torchvision.models.resnet18(weights=None),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), FrozenBatchNorm2d(4)),
    ],
)
def test_no_norm_is_left_and_the_answers_are_the_same(network):
    torch.manual_seed(0)
    made = moved(network().double())
    folded = fold_batch_norms(made)
    assert norms(made)
    assert not norms(folded)
    for ours, theirs in zip(answers(folded), answers(made), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_in_float32_answers_differ_by_rounding():
    torch.manual_seed(0)
    made = moved(BACKBONES.get("VGG16")(weights=None, strides=(4,)))
    (found,), (expected,) = answers(fold_batch_norms(made)), answers(made)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_the_network_itself_stays_as_it_is_and_trains_on():
    torch.manual_seed(0)
    made = moved(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)))
    state = copy.deepcopy(made.state_dict())
    folded = fold_batch_norms(made)
    assert all(value.equal(state[name]) for name, value in made.state_dict().items())
    assert [type(layer) for layer in made] == [nn.Conv2d, nn.BatchNorm2d, nn.Conv2d]
    assert folded[2] is made[2]
    made.train()
    answers(made)[0].sum().backward()
    assert all(p.grad is not None for p in made.parameters())
    assert all(p.grad is None for p in folded[0].parameters())
    assert not folded[1].training


def test_a_network_without_norms_is_its_own_copy():
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    assert fold_batch_norms(made) is made


class Shared(nn.Module):
    """One convolution, two norms."""

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(3, 4, 3)
        self.one = nn.Sequential(conv, nn.BatchNorm2d(4))
        self.two = nn.Sequential(conv, nn.BatchNorm2d(4))

    def forward(self, x):
        return self.one(x), self.two(x)


class Between(nn.Module):
    """States its pair where it may be folded, and not where the map is used between the two."""

    def __init__(self, *, stated):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv_norms = (("conv", "norm"),) if stated else ()

    def forward(self, x):
        seen = self.conv(x)
        return self.norm(seen) if self.conv_norms else seen + self.norm(seen)


def watched():
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    made[0].register_forward_hook(lambda *args: None)
    return made


def untracked():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))


def trained_on():
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.0))
    return moved(made).train()


@pytest.mark.parametrize(
    ("made", "left"),
    [
        (Shared, 2),
        (lambda: Between(stated=False), 1),
        (lambda: Between(stated=True), 0),
        (watched, 1),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 1),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
            1,
        ),
    ],
)
def test_what_may_not_be_folded_is_left(made, left):
    torch.manual_seed(0)
    network = made().double().eval()
    folded = fold_batch_norms(network)
    assert len(norms(folded)) == left
    for ours, theirs in zip(answers(folded), answers(network), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_norms_in_training_mode_are_left():
    assert len(norms(fold_batch_norms(trained_on()))) == 1


def test_the_layout_of_the_weights_stays():
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    made = made.to(memory_format=torch.channels_last)
    folded = fold_batch_norms(made)
    assert folded[0].weight.stride() == made[0].weight.stride()


def test_frozen_stages_are_folded_in_training_too_and_follow_a_loaded_state():
    torch.manual_seed(0)
    made = moved(BACKBONES.get("VGG16")(weights=None, strides=(2,), frozen_stages=2).double())
    other = moved(copy.deepcopy(made), seed=2)
    (expected,) = answers(made.eval())  # no stage is trained, so both modes are the same
    (found,) = answers(made.train())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    made.load_state_dict(other.state_dict())
    (found,), (expected,) = answers(made), answers(other)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
