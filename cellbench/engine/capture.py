"""The network of a counter as two CUDA graphs: forward and backward, each replayed in one call.

A step of a small network on small crops launches hundreds of kernels of microseconds each, and a
GPU waits for Python to launch them. A captured graph is launched at once.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cellbench.engine.devices import autocast
from cellbench.models.batch import Batch
from cellbench.models.counter import CellCounter, total_loss

# Passes before the capture: libraries choose their algorithms and allocate their workspaces.
_WARM_UP = 3
# Relative L2 distance of replayed and eager outputs and gradients. bfloat16 has 8 bits, and
# some backward kernels add in another order each time.
_TOLERANCE = {"bfloat16": 0.05, "float32": 0.01}


class Halves(Protocol):
    """A network's forward and backward pass as two calls, with the loss between them."""

    def fits(self, batch: Batch) -> bool:
        """Whether it can be used on a batch."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs as leaves, which a loss can be computed from."""

    def backward(self, outputs: Sequence[Tensor]) -> None:
        """Set the `grad` of every parameter from those of the outputs of `forward`."""


class EagerHalves:
    """The two halves without a capture: what a GPU replays, for machines that have none."""

    def __init__(self, counter: CellCounter, *, precision: str) -> None:
        self.counter = counter
        self.precision = precision
        self._outputs: tuple[Tensor, ...] = ()

    def fits(self, batch: Batch) -> bool:
        """Images of any shape."""
        return True

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Run the network."""
        with autocast(pixels.device, self.precision):
            self._outputs = self.counter.network(pixels)
        return _leaves(self._outputs)

    def backward(self, outputs: Sequence[Tensor]) -> None:
        """Go on from the gradients of the outputs."""
        pairs = zip(self._outputs, outputs, strict=True)
        used = [(own, leaf.grad) for own, leaf in pairs if leaf.grad is not None]
        torch.autograd.backward([own for own, _ in used], [grad for _, grad in used])


class Captured:
    """A captured network.

    Attributes:
        learning: the parameters that receive gradients.
        gradients: of `learning`, in place at each `backward`.
    """

    def __init__(self, counter: CellCounter, pixels: Tensor, *, precision: str) -> None:
        """Record both directions for images of the shape of `pixels`.

        Args:
            counter: in training mode; its weights stay, its buffers change as in a few steps.
            pixels: (B, 3, H, W) on the GPU.
            precision: "float32" or "bfloat16".

        Raises:
            RuntimeError: an operation cannot be captured.
        """
        self._pixels = pixels.clone()
        shared = [p for p in counter.parameters() if p.requires_grad]

        def forward() -> tuple[Tensor, ...]:
            # The cache of autocast keeps casted weights, which a replay would not cast again.
            with autocast(pixels.device, precision, cache=False):
                return counter.network(self._pixels)

        def backward(outputs: Sequence[Tensor], grads: Sequence[Tensor]) -> list[Tensor | None]:
            asked = [output for output in outputs if output.requires_grad]
            return list(torch.autograd.grad(asked, shared, grads, allow_unused=True))

        def grads_like(outputs: Sequence[Tensor]) -> list[Tensor]:
            return [torch.zeros_like(output) for output in outputs if output.requires_grad]

        stream, pool = torch.cuda.Stream(pixels.device), torch.cuda.graph_pool_handle()
        with _beside(stream):
            for left in reversed(range(_WARM_UP)):
                # What waits each time is refused here: a capture that fails leaves traces.
                with nullcontext() if left else _waiting_refused():
                    outputs = forward()
                    found = backward(outputs, grads_like(outputs))
        self.learning = [p for p, g in zip(shared, found, strict=True) if g is not None]
        # Of the layout of the weights, as optimisers that are fused over tensors need them.
        self.gradients = [torch.empty_like(p) for p in self.learning]
        del outputs, found
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with _recorded(self._forward, pool, stream):
            outputs = forward()
        self._output_grads = grads_like(outputs)
        with _recorded(self._backward, pool, stream):
            made = backward(outputs, self._output_grads)
            torch._foreach_copy_(self.gradients, [grad for grad in made if grad is not None])
        # Without the graph behind them: what it holds belongs to the stream of the capture, where
        # the gradients of an eager step would have to wait.
        self._outputs = _leaves(outputs)

    def fits(self, batch: Batch) -> bool:
        """Whether the images of a batch are of the shape that was captured."""
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
        asked = [output for output in outputs if output.requires_grad]
        for held, output in zip(self._output_grads, asked, strict=True):
            if output.grad is None:  # the loss does not look at it
                held.zero_()
            else:
                held.copy_(output.grad)
        self._backward.replay()
        for parameter, gradient in zip(self.learning, self.gradients, strict=True):
            parameter.grad = gradient


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
    learn in the loss itself) shows as other outputs or gradients.

    Args:
        counter: in training mode, on a GPU; weights and buffers stay as they are.
        batch: of the shape that is captured.
        precision: "float32" or "bfloat16".
        seed: of what the network draws.
        log: takes a sentence that says what came of it.

    Returns:
        None where steps must be eager.
    """
    with _kept_buffers(counter), _restored(batch.images.pixels.device):
        try:
            captured = Captured(counter, batch.images.pixels, precision=precision)
            apart = _distance(counter, captured, batch, precision=precision, seed=seed)
        except Exception as error:  # a mistake in the network is an eager step's, too
            log(f"steps are eager: the network cannot be captured ({_first_line(error)})")
            return None
        finally:
            counter.zero_grad()
    if not apart <= _TOLERANCE[precision]:
        log(f"steps are eager: a captured one differs from an eager one by {apart:.2g}")
        return None
    log(f"steps are captured CUDA graphs, {apart:.1g} from an eager one")
    return captured


def _leaves(outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(output.detach().requires_grad_(output.requires_grad) for output in outputs)


def _distance(
    counter: CellCounter, captured: Captured, batch: Batch, *, precision: str, seed: int
) -> float:
    """The largest relative L2 distance between an eager and a replayed step, over all tensors.

    Tensors are compared in one piece by kind: every output, and the gradients of all parameters.
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
    wanted = [None if p.grad is None else p.grad.clone() for p in counter.parameters()]
    counter.zero_grad()
    with _kept_buffers(counter):
        torch.manual_seed(seed)
        replayed = captured.forward(pixels)
        gradients(replayed)
        # A matcher may pair otherwise after rounding: the way back is compared from one loss.
        for ours, theirs in zip(replayed, eager, strict=True):
            ours.grad = theirs.grad if ours.requires_grad else None
        captured.backward(replayed)
    found = [p.grad for p in counter.parameters()]
    if [grad is None for grad in wanted] != [grad is None for grad in found]:
        return float("inf")
    pairs = [([a], [b]) for a, b in zip(replayed, eager, strict=True)]
    pairs.append(([g for g in found if g is not None], [g for g in wanted if g is not None]))
    return max(_relative(ours, theirs) for ours, theirs in pairs)


def _relative(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """|found - wanted| / |wanted| over all numbers of several tensors."""

    def square(tensors: Sequence[Tensor]) -> float:
        return sum(float(tensor.detach().double().square().sum()) for tensor in tensors)

    apart = [a.detach().double() - b.detach().double() for a, b in zip(found, wanted, strict=True)]
    size = square(wanted)
    return (square(apart) / size) ** 0.5 if size > 0 else square(apart)


def _first_line(error: BaseException) -> str:
    """What went wrong first: the end of a failed capture is an error of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _beside(stream: torch.cuda.Stream) -> Iterator[None]:
    """Work on a stream of its own before a capture, as captures ask for."""
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(stream.device).wait_stream(stream)


@contextmanager
def _waiting_refused() -> Iterator[None]:
    """Have an operation that waits for the GPU raise a RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _recorded(graph: torch.cuda.CUDAGraph, pool: Any, stream: torch.cuda.Stream) -> Iterator[None]:
    """Record what is computed into a graph, on a stream and in a pool of memory."""
    try:
        with torch.cuda.graph(graph, pool=pool, stream=stream):
            yield
    except Exception:
        _undo_failed_capture(pool, stream.device)
        raise


def _undo_failed_capture(pool: Any, device: torch.device) -> None:
    """Let a process compute on after a capture that failed.

    PyTorch before 2.12 leaves its allocator as in a capture, where it frees nothing, and its
    generator too, which then refuses to draw.
    """
    with suppress(AttributeError, RuntimeError):  # newer ones have ended it themselves
        torch._C._cuda_endAllocateToPool(device.index, pool)
    with suppress(RuntimeError):  # the end of a capture that succeeds gives the generator back
        stream, number = torch.cuda.Stream(device), torch.zeros(1, device=device)
        with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream):
            number.add_(1)


@contextmanager
def _restored(device: torch.device) -> Iterator[None]:
    """Let cuDNN measure its algorithms; put the stream back, which a failed capture leaves.

    What libraries warn of meanwhile (plans that do not fit, what a debug mode does not notice) is
    no reason not to capture where warnings are errors.
    """
    measured, stream = torch.backends.cudnn.benchmark, torch.cuda.current_stream(device)
    torch.backends.cudnn.benchmark = True
    try:
        with torch.cuda.device(device), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.cudnn.benchmark = measured
        torch.cuda.set_stream(stream)


@contextmanager
def _kept_buffers(network: nn.Module) -> Iterator[None]:
    """Undo what happens to a network's buffers (running statistics) meanwhile."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
