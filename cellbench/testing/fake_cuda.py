"""Fake CUDA device: a counter runs without a GPU, with CUDA's shapes, dtypes and devices.

PyTorch's fake tensors run every operator's own checks for the device that they claim, and CUDA's
autocast casts them as it would the real ones. So a method that fails on a GPU because two dtypes
or two devices are mixed fails here, on any machine and in seconds.

Reading numbers from the device (`item`, `nonzero`, `if tensor`) raises an error of `READS`: there
are none, and on a GPU the host would wait. Only `numpy` returns made-up numbers, so that work on
the host after one copy, such as matching, is run too.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import _lru_cache_wrapper
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cellbench.models.batch import Batch, Images
from cellbench.models.build import build_counter
from cellbench.models.counter import CellCounter
from cellbench.plugin_index import entries
from cellbench.testing.contract_claim import CannotCheckError, require

DEVICE = torch.device("cuda", 0)
_SIDE = 32  # of fake images, px
# Errors that fake tensors raise where a number is read.
READS = (DataDependentOutputException, DynamicOutputShapeException)

# These builds need CUDA's driver even for fake tensors; PyTorch 2.6 ends the process without it.
ASKS_THE_DRIVER = (
    torch.__version__ < "2.14" and torch.version.cuda is not None and not torch.cuda.is_available()
)


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Make tensors fake, so that those on "cuda" need no GPU.

    Raises:
        CannotCheckError: PyTorch is a CUDA build of before 2.14, on a machine without a driver.
    """
    if ASKS_THE_DRIVER:
        raise CannotCheckError(
            f"PyTorch {torch.__version__} asks CUDA's driver even where tensors are fake, and this "
            "machine has none; install 2.14"
        )
    # these methods are no operators, which fake tensors would handle
    fakes = patch.multiple(Tensor, numpy=_numpy, tolist=_tolist, pin_memory=lambda tensor: tensor)
    # with two threads matching runs in threads, where tensors on the host are real ones
    threads = patch.object(torch, "get_num_threads", lambda: 2)
    with fakes, threads:
        try:
            with FakeTensorMode(allow_non_fake_inputs=True):
                yield
        finally:
            _clear_function_caches()


@contextmanager
def cuda_autocast() -> Iterator[None]:
    """Enable CUDA's autocast to bfloat16; `torch.autocast` disables itself without a GPU."""
    was = torch.get_autocast_dtype("cuda"), torch.is_autocast_cache_enabled()
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_cache_enabled(False)
    torch.set_autocast_enabled("cuda", True)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", was[0])
        torch.set_autocast_cache_enabled(was[1])


def build_fake(model: Mapping[str, Any]) -> CellCounter:
    """Build a counter with fake parameters and buffers on "cuda"; call it within `fake_cuda`.

    Other tensors of a module are not moved, as `Module.to` does not move them.
    """
    with unset_fake_temporarily(), torch.device("meta"):
        counter = build_counter(model, load_weights=False)  # without drawing any weights
    for module in counter.modules():
        for held in (module._parameters, module._buffers):
            for name, value in held.items():
                if value is not None:
                    held[name] = _moved(value)
    return counter


def _moved(value: Tensor) -> Tensor:
    fake = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=DEVICE)
    if isinstance(value, torch.nn.Parameter):
        return torch.nn.Parameter(fake, requires_grad=value.requires_grad)
    return fake


def fake_images(*, sizes_are_known: bool = False) -> Images:
    """Build two square images; the network input is twice as fine as the originals.

    With known sizes `tolist` returns them: reading sizes makes the host wait, but is no error.
    """
    pixels = torch.empty(2, 3, _SIDE, _SIDE, device=DEVICE)
    pixels = pixels.to(memory_format=torch.channels_last)
    sizes: Any = torch.empty(2, 2, dtype=torch.int64, device=DEVICE)
    if sizes_are_known:
        sizes.numbers = [[_SIDE, _SIDE]] * 2
    return Images(pixels, sizes, 2.0, ["0", "1"])


def fake_batch() -> Batch:
    """Build a batch of two images with their cells, whose points are on the host too."""
    rng = np.random.default_rng(0)
    on_host = [rng.uniform(0, _SIDE, (cells, 2)).astype(np.float32) for cells in (20, 7)]
    points = [torch.empty(xy.shape, device=DEVICE) for xy in on_host]
    return Batch(fake_images(), points, on_host)


def backward(loss: Tensor) -> None:
    """Accumulate the gradients of a fake loss, as `loss.backward()` does.

    PyTorch's engine waits in a thread of the CUDA device; this walks through the same graph, and
    casts and checks the gradients from each node by the same rules.
    """
    nodes = _in_order(loss.grad_fn)
    waiting: dict[Any, dict[int, Tensor]] = {}
    waiting[loss.grad_fn] = {0: torch.ones_like(loss)}
    with torch.no_grad():
        for node in nodes:
            given = waiting.pop(node, None)
            if given is None:  # no gradient reaches this node
                continue
            if hasattr(node, "variable"):
                _accumulate(node.variable, given[0])
                continue
            for (target, place), gradient in _edges(node, given):
                if gradient is None:
                    continue
                wanted = target._input_metadata[place]
                gradient = _checked(gradient, wanted, node)
                held = waiting.setdefault(target, {})
                held[place] = held[place] + gradient if place in held else gradient


def _in_order(root: Any) -> list[Any]:
    """List the nodes of a graph in topological order: each after all that pass it a gradient."""
    done: set[Any] = set()
    order: list[Any] = []
    stack = [(root, False)]
    while stack:
        node, finished = stack.pop()
        if finished:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack += [(target, False) for target, _ in node.next_functions if target is not None]
    return order[::-1]


def _edges(node: Any, given: Mapping[int, Tensor]) -> list[tuple[tuple[Any, int], Any]]:
    """Run a node; returns pairs of (next node, place) and the gradient for it."""
    shapes = node._input_metadata
    inputs = [given.get(place) for place in range(len(shapes))]
    if not hasattr(node, "needs_input_grad"):  # a node of PyTorch's own
        outputs = node(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return [e for e in zip(node.next_functions, outputs, strict=True) if e[0][0] is not None]
    inputs = [  # a torch.autograd.Function gets zeros where there is no gradient
        torch.zeros(tuple(wanted.shape), dtype=wanted.dtype, device=wanted.device)
        if gradient is None
        else gradient
        for gradient, wanted in zip(inputs, shapes, strict=True)
    ]
    outputs = node.apply(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    outputs = [one for one, needed in zip(outputs, node.needs_input_grad, strict=True) if needed]
    edges = [edge for edge in node.next_functions if edge[0] is not None]
    return list(zip(edges, outputs, strict=True))


def _checked(gradient: Tensor, wanted: Any, node: Any) -> Tensor:
    require(
        gradient.device == wanted.device,
        f"{node.name()} answers a gradient on {gradient.device} for one on {wanted.device}",
    )
    shape = tuple(wanted.shape)
    if tuple(gradient.shape) != shape:
        gradient = gradient.sum_to_size(shape)
    return gradient.to(wanted.dtype)


def _accumulate(leaf: Tensor, gradient: Tensor) -> None:
    require(
        (gradient.device, gradient.shape) == (leaf.device, leaf.shape),
        f"a gradient of {tuple(gradient.shape)} on {gradient.device} for a parameter of "
        f"{tuple(leaf.shape)} on {leaf.device}",
    )
    leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient


class HostTensors(TorchDispatchMode):
    """Dispatch mode that lists operators which make a tensor on the CPU, or copy one from there.

    A single number on the CPU is passed with the launch of a kernel, and is not listed.

    Attributes:
        seen: "operator (shape)" of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator and list it if its outputs are on the CPU, or copied from there."""
        outputs = func(*args, **(kwargs or {}))
        leaves = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
        copied = func is torch.ops.aten._to_copy.default and args[0].device.type == "cpu"
        self.seen += [
            f"{func} {tuple(leaf.shape)}"
            for leaf in leaves
            if copied or (leaf.device.type == "cpu" and leaf.ndim)
        ]
        return outputs


_real_numpy, _real_tolist = torch.Tensor.numpy, torch.Tensor.tolist


def _tolist(tensor: Tensor) -> Any:
    return tensor.numbers if hasattr(tensor, "numbers") else _real_tolist(tensor)


def _numpy(tensor: Tensor, *, force: bool = False) -> Any:
    """Return made-up numbers of the right shape and dtype; the same ones for the same shape."""
    if not isinstance(tensor, FakeTensor):
        return _real_numpy(tensor, force=force)
    if not force and (tensor.device.type != "cpu" or tensor.requires_grad):
        raise TypeError(f"no array of a tensor on {tensor.device}; copy it to the host first")
    if tensor.dtype == torch.bfloat16:
        raise TypeError("NumPy has no bfloat16")
    number = math.prod(tensor.shape)
    values = (np.arange(1, number + 1) * 0.6180339887 % 1).reshape(tuple(tensor.shape))
    kind = np.dtype(str(tensor.dtype).removeprefix("torch."))
    return values > 0.5 if tensor.dtype == torch.bool else values.astype(kind)


def _clear_function_caches() -> None:
    """Clear the caches of functions in cellbench's models and in plugins: they may hold fakes."""
    packages = {entry.module.partition(".")[0] for entry in entries()} - {"cellbench"}
    for name, module in list(sys.modules.items()):
        if name.startswith("cellbench.models") or name.partition(".")[0] in packages:
            for value in list(vars(module).values()):
                if isinstance(value, _lru_cache_wrapper):
                    value.cache_clear()
