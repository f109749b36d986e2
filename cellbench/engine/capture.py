"""CUDA graphs of a counter's network: forward and backward pass, each replayed in one call.

A step of a small network on small crops launches hundreds of kernels of microseconds each, and a
GPU waits for Python to launch them. A captured graph is one launch.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cellbench.engine.devices import autocast
from cellbench.models.batch import Batch
from cellbench.models.counter import CellCounter, total_loss

# Passes before the capture, in which libraries choose algorithms and allocate workspaces.
_WARM_UP = 3
# Largest relative L2 distance of replayed from eager outputs and gradients. bfloat16 has 8 bits,
# and some backward kernels add in another order each time.
_TOLERANCE = {"bfloat16": 0.05, "float32": 0.01}


class Halves(Protocol):
    """A network's forward and backward pass as two calls, with the loss between them."""

    def fits(self, batch: Batch) -> bool:
        """Return whether it can be used on a batch."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the network's outputs as leaves, from which a loss can be computed."""

    def backward(self, outputs: Sequence[Tensor]) -> None:
        """Set the `grad` of every parameter from those of the outputs of `forward`."""


class EagerHalves:
    """Eager forward and backward pass on any device, with which a captured one is compared."""

    def __init__(self, counter: CellCounter, *, precision: str) -> None:
        self.counter = counter
        self.precision = precision
        self._outputs: tuple[Tensor, ...] = ()

    def fits(self, batch: Batch) -> bool:
        """Return True: images may have any shape."""
        return True

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Run the network and return its outputs as leaves."""
        with autocast(pixels.device, self.precision):
            self._outputs = self.counter.network(pixels)
        return _leaves(self._outputs)

    def backward(self, outputs: Sequence[Tensor]) -> None:
        """Propagate the gradients of the outputs to the parameters."""
        pairs = zip(self._outputs, outputs, strict=True)
        used = [(output, leaf.grad) for output, leaf in pairs if leaf.grad is not None]
        torch.autograd.backward([output for output, _ in used], [grad for _, grad in used])


class Captured:
    """Network captured as two CUDA graphs, for one input shape.

    Attributes:
        learning: the parameters that receive gradients.
        gradients: of `learning`, overwritten by each `backward`.
    """

    def __init__(self, counter: CellCounter, pixels: Tensor, *, precision: str) -> None:
        """Capture both passes for images of the shape of `pixels`.

        Args:
            counter: in training mode; its weights stay, its buffers change as in a few steps.
            pixels: (B, 3, H, W) on the GPU.
            precision: "float32" or "bfloat16".

        Raises:
            RuntimeError: an operation cannot be captured.
        """
        self._pixels = pixels.clone()
        passes = _Passes(counter, self._pixels, precision=precision)
        stream, pool = torch.cuda.Stream(pixels.device), torch.cuda.graph_pool_handle()
        self.learning = passes.warm_up(stream)
        # In the memory layout of the weights, as fused optimisers need them.
        self.gradients = [torch.empty_like(p) for p in self.learning]
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with _recorded(self._forward, pool, stream):
            outputs = passes.forward()
        self._output_grads = _zero_grads(outputs)
        with _recorded(self._backward, pool, stream):
            computed = passes.backward(outputs, self._output_grads)
            torch._foreach_copy_(self.gradients, [grad for grad in computed if grad is not None])
        # Without their autograd graph: its tensors belong to the stream of the capture, for which
        # the gradients of an eager step would have to wait.
        self._outputs = _leaves(outputs)

    def fits(self, batch: Batch) -> bool:
        """Return whether the images of a batch have the captured shape."""
        return batch.images.pixels.shape == self._pixels.shape

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Returns:
            Its outputs as leaves, which a loss can be computed from; valid until the next call.
        """
        self._pixels.copy_(pixels)
        self._forward.replay()
        return _leaves(self._outputs)

    def backward(self, outputs: Sequence[Tensor]) -> None:
        """Set the `grad` of every parameter from those of the outputs of `forward`."""
        for held, output in zip(self._output_grads, _differentiable(outputs), strict=True):
            if output.grad is None:  # the loss does not use it
                held.zero_()
            else:
                held.copy_(output.grad)
        self._backward.replay()
        for parameter, gradient in zip(self.learning, self.gradients, strict=True):
            parameter.grad = gradient


class _Passes:
    """Forward and backward pass of a network on fixed input memory, as a graph needs it."""

    def __init__(self, counter: CellCounter, pixels: Tensor, *, precision: str) -> None:
        self.counter = counter
        self.pixels = pixels
        self.precision = precision
        self.parameters = [p for p in counter.parameters() if p.requires_grad]

    def warm_up(self, stream: torch.cuda.Stream) -> list[nn.Parameter]:
        """Run both passes on a side stream and return the parameters that receive gradients.

        Raises:
            RuntimeError: an operation of the last pass waits for the GPU. It would at every step,
                and a capture that fails for it leaves PyTorch's state changed.
        """
        with _side_stream(stream):
            for _ in range(_WARM_UP - 1):
                self._run()
            with _refused_waiting():
                found = self._run()
        return [p for p, grad in zip(self.parameters, found, strict=True) if grad is not None]

    def _run(self) -> list[Tensor | None]:
        outputs = self.forward()
        return self.backward(outputs, _zero_grads(outputs))

    def forward(self) -> tuple[Tensor, ...]:
        """Compute the network's outputs, with their autograd graph."""
        # No autocast cache: a replay would not cast the cached weights again.
        with autocast(self.pixels.device, self.precision, cache=False):
            return self.counter.network(self.pixels)

    def backward(
        self, outputs: Sequence[Tensor], output_grads: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Compute the gradient of each parameter; None for those that no output depends on."""
        asked = _differentiable(outputs)
        return list(torch.autograd.grad(asked, self.parameters, output_grads, allow_unused=True))


def capture(
    counter: CellCounter,
    batch: Batch,
    *,
    precision: str,
    seed: int,
    log: Callable[[str], None] = lambda text: None,
) -> Captured | None:
    """Capture a counter's network and compare it with an eager step.

    What a capture cannot repeat (branches on values, random numbers of Python, parameters that
    the loss itself trains) shows as a difference in outputs or gradients.

    Args:
        counter: in training mode, on a GPU; weights and buffers stay as they are.
        batch: of the shape that is captured.
        precision: "float32" or "bfloat16".
        seed: of the random numbers of the network.
        log: receives one sentence with the result.

    Returns:
        The captured network; None where steps must be eager.
    """
    with _kept_buffers(counter), _restored(batch.images.pixels.device):
        try:
            captured = Captured(counter, batch.images.pixels, precision=precision)
            apart = _distance(counter, captured, batch, precision=precision, seed=seed)
        except Exception as error:  # an error of the network itself is raised by an eager step, too
            log(f"steps are eager: the network cannot be captured ({_first_line(error)})")
            return None
        finally:
            counter.zero_grad()
    if not apart <= _TOLERANCE[precision]:
        log(f"steps are eager: a captured one differs from an eager one by {apart:.2g}")
        return None
    log(f"steps are captured CUDA graphs, {apart:.1g} from an eager one")
    return captured


def _differentiable(outputs: Sequence[Tensor]) -> list[Tensor]:
    return [output for output in outputs if output.requires_grad]


def _zero_grads(outputs: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(output) for output in _differentiable(outputs)]


def _leaves(outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(output.detach().requires_grad_(output.requires_grad) for output in outputs)


def _distance(
    counter: CellCounter, captured: Captured, batch: Batch, *, precision: str, seed: int
) -> float:
    """Compute the largest relative L2 distance between an eager and a replayed step.

    Each output is compared as one vector, and the gradients of all parameters as another.
    """
    device, pixels = batch.images.pixels.device, batch.images.pixels

    def gradients(outputs: Sequence[Tensor]) -> None:
        with autocast(device, precision):
            total_loss(counter.terms(outputs, batch)).backward()

    halves = EagerHalves(counter, precision=precision)
    with _kept_buffers(counter):
        torch.manual_seed(seed)
        eager = halves.forward(pixels)
        gradients(eager)
        halves.backward(eager)
    expected = [None if p.grad is None else p.grad.clone() for p in counter.parameters()]
    counter.zero_grad()
    with _kept_buffers(counter):
        torch.manual_seed(seed)
        replayed = captured.forward(pixels)
        gradients(replayed)
        # A matcher may pair otherwise after rounding: both backward passes start from the output
        # gradients of the eager loss.
        for ours, theirs in zip(replayed, eager, strict=True):
            ours.grad = theirs.grad if ours.requires_grad else None
        captured.backward(replayed)
    found = [p.grad for p in counter.parameters()]
    if [grad is None for grad in expected] != [grad is None for grad in found]:
        return float("inf")
    pairs = [([a], [b]) for a, b in zip(replayed, eager, strict=True)]
    pairs.append(([g for g in found if g is not None], [g for g in expected if g is not None]))
    return max(_relative(ours, theirs) for ours, theirs in pairs)


def _relative(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Compute |found - expected| / |expected| over all numbers of several tensors."""

    def square(tensors: Sequence[Tensor]) -> float:
        return sum(float(tensor.detach().double().square().sum()) for tensor in tensors)

    apart = [
        a.detach().double() - b.detach().double() for a, b in zip(found, expected, strict=True)
    ]
    size = square(expected)
    return (square(apart) / size) ** 0.5 if size > 0 else square(apart)


def _first_line(error: BaseException) -> str:
    """Return the message of the first error: a failed capture raises another one at its end."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _side_stream(stream: torch.cuda.Stream) -> Iterator[None]:
    """Run the context on a side stream, as CUDA graphs require before a capture."""
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(stream.device).wait_stream(stream)


@contextmanager
def _refused_waiting() -> Iterator[None]:
    """Make operations that wait for the GPU raise a RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _recorded(graph: torch.cuda.CUDAGraph, pool: Any, stream: torch.cuda.Stream) -> Iterator[None]:
    """Record the operations of the context into a graph, on a stream and in a memory pool."""
    try:
        with torch.cuda.graph(graph, pool=pool, stream=stream):
            yield
    except Exception:
        _undo_failed_capture(pool, stream.device)
        raise


def _undo_failed_capture(pool: Any, device: torch.device) -> None:
    """Reset PyTorch's allocator and random generator after a failed capture.

    PyTorch before 2.12 leaves both in capture mode: the allocator frees nothing, and the generator
    refuses to draw.
    """
    with suppress(AttributeError, RuntimeError):  # newer versions reset it themselves
        torch._C._cuda_endAllocateToPool(device.index, pool)
    with suppress(RuntimeError):  # a capture that succeeds resets the generator at its end
        stream, number = torch.cuda.Stream(device), torch.zeros(1, device=device)
        with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream):
            number.add_(1)


@contextmanager
def _restored(device: torch.device) -> Iterator[None]:
    """Enable cuDNN's benchmark mode; restore it and the stream, which a failed capture leaves.

    Warnings of libraries (plans that do not fit, limits of a debug mode) are ignored: where
    warnings are errors, they are no reason not to capture.
    """
    benchmark, stream = torch.backends.cudnn.benchmark, torch.cuda.current_stream(device)
    torch.backends.cudnn.benchmark = True
    try:
        with torch.cuda.device(device), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        torch.cuda.set_stream(stream)


@contextmanager
def _kept_buffers(network: nn.Module) -> Iterator[None]:
    """Restore a network's buffers (running statistics) at the end of the context."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
