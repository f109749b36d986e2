"""Exponential moving average of the weights, for evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a network's parameters and buffers.

    The decay grows with the number of updates, min(decay, (1 + n) / (10 + n)), so that a short
    run is not dominated by its first weights. The network's tensors are looked up once, since
    training changes them in place.

    Attributes:
        updates: their number since the start or the last `hand_over`.
        state: name to averaged tensor.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start from the network's current state.

        Args:
            network: whose state is averaged.
            decay: in [0, 1), the weight of earlier states.
        """
        self.decay = decay
        self.updates = 0
        persistent = network.state_dict(keep_vars=True)
        self._network: dict[str, Tensor] = dict(network.named_parameters())
        self._network |= {n: v for n, v in network.named_buffers() if n in persistent}
        self.state = {name: value.detach().clone() for name, value in self._network.items()}
        # Averaged and current tensors in the same order: floating point, then integer counters.
        kinds: list[list[tuple[Tensor, Tensor]]] = [[], []]
        for name, value in self._network.items():
            kinds[not value.is_floating_point()].append((self.state[name], value.detach()))
        self._floats, self._counters = (
            ([pair[0] for pair in pairs], [pair[1] for pair in pairs]) for pairs in kinds
        )

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the network's state after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(*self._floats, 1 - decay)
        if self._counters[0]:
            torch._foreach_copy_(*self._counters)

    @torch.no_grad()
    def hand_over(self) -> None:
        """Copy the averaged weights into the network, and restart the average from them."""
        for name, value in self._network.items():
            value.copy_(self.state[name])
        self.updates = 0

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Swap the averaged weights into the network for the time of the context.

        Buffers that an evaluation sets (a chosen threshold) stay in the average; the network
        gets its own back.
        """
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self._network.items():
            kept = value.detach().clone()
            value.copy_(self.state[name])
            self.state[name].copy_(kept)

    def state_dict(self) -> dict[str, object]:
        """Return the state of the average for a checkpoint."""
        return {"updates": self.updates, "state": self.state}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Load the state of a checkpoint."""
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        for name, value in state["state"].items():  # type: ignore[attr-defined]
            self.state[name].copy_(value)
