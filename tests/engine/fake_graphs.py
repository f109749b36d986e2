"""CUDA graphs on a CPU: what is captured is recorded operator by operator, and replayed as such.

As on a GPU a replay runs the same operators on the same memory, whatever Python says meanwhile: it
reads what lies in the tensors that were read during the capture, and writes into those that were
made in it. To read a number of the device is refused in a capture, and where `sync_debug_mode` says
so.
"""

from contextlib import contextmanager, nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = (
    "_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2",
    "unique_dim", "unique_consecutive", "repeat_interleave",
)  # fmt: skip


def reads(func, arguments):
    """Whether an operator has the host wait for a number of the device."""
    name = func._schema.name.removeprefix("aten::")
    masks = name in ("index", "index_put", "index_put_") and any(
        isinstance(one, torch.Tensor) and one.dtype in (torch.bool, torch.uint8)
        for one in arguments[1]
    )
    return name in READS or masks


class Refusing(TorchDispatchMode):
    """Raises what CUDA raises where an operator waits for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if reads(func, args):
            raise RuntimeError("called a synchronizing CUDA operation")
        return func(*args, **(kwargs or {}))


class Graph:
    """A recorded sequence of operators."""

    def __init__(self):
        self.records = []
        self.replays = 0

    def replay(self):
        self.replays += 1
        with torch.no_grad():
            for func, args, kwargs, kept in self.records:
                made = tree_leaves(func(*args, **kwargs))
                for held, fresh in zip(tree_leaves(kept), made, strict=True):
                    if isinstance(held, torch.Tensor) and not one_memory(held, fresh):
                        held.copy_(fresh)


def one_memory(one, other):
    """Whether two tensors lie in the same memory, as a view and its base do."""
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


class Recording(TorchDispatchMode):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if reads(func, args):
            raise RuntimeError("operation not permitted when stream is capturing")
        made = func(*args, **(kwargs or {}))
        self.graph.records.append((func, args, kwargs or {}, made))
        return made


class Stream:
    def __init__(self, device=None):
        self.device = torch.device("cpu") if device is None else device

    def wait_stream(self, other):
        pass


class FakeCuda:
    """What `cellbench.engine.capture` takes of torch.cuda.

    Attributes:
        graphs: that were captured, also in vain.
        undone: device and pool of captures that failed, as the allocator was told.
        failing: raised at the end of a capture, None for nothing.
    """

    def __init__(self, monkeypatch):
        self.graphs, self.undone = [], []
        self.failing = None
        self._refusing = []
        for name, value in {
            "CUDAGraph": self._make, "graph": self._capture, "Stream": Stream,
            "current_stream": Stream, "set_stream": lambda stream: None,
            "stream": lambda stream: nullcontext(), "device": lambda device: nullcontext(),
            "graph_pool_handle": lambda: (0, 1),
            "get_sync_debug_mode": lambda: len(self._refusing),
            "set_sync_debug_mode": self._set_mode,
        }.items():  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(
            torch._C, "_cuda_endAllocateToPool",
            lambda *given: self.undone.append(given), raising=False,
        )  # fmt: skip

    def _make(self):
        self.graphs.append(Graph())
        return self.graphs[-1]

    @contextmanager
    def _capture(self, graph, pool=None, stream=None):
        with Recording(graph):
            yield
        if self.failing is not None:
            raise self.failing

    def _set_mode(self, mode):
        if mode == "error":
            self._refusing.append(Refusing())
            self._refusing[-1].__enter__()
        elif self._refusing and not mode:
            self._refusing.pop().__exit__(None, None, None)


def on_fake_gpu(update):
    """Have a step on a CPU capture its network, as one on a GPU does."""
    update._captures = update._capture_next = update.counter.captures
