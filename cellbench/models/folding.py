"""Batch norms folded into the convolutions before them, for inference.

In evaluation mode a batch norm multiplies each channel by a constant and adds another. Where a
convolution feeds nothing but that norm, its weights and bias can hold both, which saves a pass
over every map.

Which norm follows which convolution is read from the structure: neighbours in an `nn.Sequential`,
the blocks of torchvision's ResNet, and what a module states itself in `conv_norms`, a sequence of
pairs of names of its submodules. Everything else stays as it is: an unknown structure is slower,
and its results are the same.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar, cast

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)
Pair = tuple[str, str]

# By class name, so that torchvision is not imported for networks without its modules.
_TORCHVISION: dict[str, Sequence[Pair]] = {
    "torchvision.models.resnet.BasicBlock": (("conv1", "bn1"), ("conv2", "bn2")),
    "torchvision.models.resnet.Bottleneck": (
        ("conv1", "bn1"),
        ("conv2", "bn2"),
        ("conv3", "bn3"),
    ),
    "torchvision.models.resnet.ResNet": (("conv1", "bn1"),),
    "torchvision.models._utils.IntermediateLayerGetter": (("conv1", "bn1"),),
}
_FROZEN_NORM = "torchvision.ops.misc.FrozenBatchNorm2d"


@torch.no_grad()
def fold_batch_norms(network: Network) -> Network:
    """Return a copy of a network with its batch norms folded; the network is not changed.

    The folded convolutions and the modules that contain them are copied; everything else is
    shared, parameters and buffers included. A copy costs one pass over the folded weights, and has
    to be made again once the weights have changed.

    Args:
        network: in evaluation mode; norms that are in training mode are not folded.

    Returns:
        The copy, in evaluation mode, whose outputs differ by rounding: of the order of 1e-6 of
        their size in float32. `network` itself where there is nothing to fold.
    """
    places = Counter(
        id(child) for module in network.modules() for child in module._modules.values()
    )
    return cast(Network, _copied(network, places, {}))


def _copied(module: nn.Module, places: Counter[int], copies: dict[int, nn.Module]) -> nn.Module:
    """Return the module with all norms in it folded; itself where there are none."""
    if id(module) in copies:
        return copies[id(module)]
    changed: dict[str, nn.Module] = {}
    # Names of submodules: the second has the output of the first as input, and is its only user.
    pairs: Sequence[Pair] = getattr(module, "conv_norms", ())
    neighbours = pairwise(module._modules) if isinstance(module, nn.Sequential) else ()
    for first, second in (*neighbours, *pairs, *_TORCHVISION.get(_name(module), ())):
        conv, norm = (module._modules.get(name) for name in (first, second))
        if _folds(conv, norm) and places[id(conv)] == places[id(norm)] == 1:
            changed[first] = _folded(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))
            changed[second] = nn.Identity().eval()
    for name, child in module._modules.items():
        if child is not None and name not in changed:
            copy = _copied(child, places, copies)
            if copy is not child:
                changed[name] = copy
    copies[id(module)] = _with_children(module, changed) if changed else module
    return copies[id(module)]


def _name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _folds(conv: nn.Module | None, norm: nn.Module | None) -> bool:
    """Return whether a convolution and a norm are of the known kinds, and have no hooks."""
    if type(conv) is not nn.Conv2d or norm is None or norm.training:
        return False
    if any(m._forward_hooks or m._forward_pre_hooks for m in (conv, norm)):
        return False
    if type(norm) is nn.BatchNorm2d:
        return norm.running_mean is not None and norm.num_features == conv.out_channels
    return _name(norm) == _FROZEN_NORM


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return one convolution for both; its weights keep their memory layout."""
    assert norm.running_mean is not None  # for the type checker: `_folds` has checked it
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    shift = shift * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    folded = _with_children(conv, {})
    # Autocast caches bfloat16 copies only of tensors that require gradients, so that is kept too.
    folded._parameters = {
        "weight": nn.Parameter(conv.weight * scale[:, None, None, None], conv.weight.requires_grad),
        "bias": nn.Parameter(shift, conv.weight.requires_grad),
    }
    return folded


def _with_children(module: Network, children: dict[str, nn.Module]) -> Network:
    """Return a shallow copy with some submodules replaced; tensors and hooks are shared."""
    copy = module.__class__.__new__(module.__class__)
    copy.__dict__.update(module.__dict__)
    for name in ("_parameters", "_buffers"):
        copy.__dict__[name] = dict(module.__dict__[name])
    copy.__dict__["_modules"] = {**module._modules, **children}
    return copy
