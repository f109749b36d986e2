"""A moving average of the weights, for evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a network's parameters and buffers.

    The decay grows with the number of updates, min(decay, (1 + n) / (10 + n)), so that a short
    run is not dominated by its first weights. The network changes its tensors in place: they are
    looked up once.

    Attributes:
        updates: how many were averaged.
        state: name to averaged tensor.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start from the network's present state.

        Args:
            network: whose state is averaged.
            decay: in [0, 1), the weight of the past.
        """
        self.decay = decay
        self.updates = 0
        persistent = network.state_dict(keep_vars=True)
        self._network: dict[str, Tensor] = dict(network.named_parameters())
        self._network |= {n: v for n, v in network.named_buffers() if n in persistent}
        self.state = {name: value.detach().clone() for name, value in self._network.items()}
        # Averaged and fresh tensors in the same order: numbers, then counters.
        kinds: list[list[tuple[Tensor, Tensor]]] = [[], []]
        for name, value in self._network.items():
            kinds[not value.is_floating_point()].append((self.state[name], value.detach()))
        self._numbers, self._counters = (
            ([pair[0] for pair in pairs], [pair[1] for pair in pairs]) for pairs in kinds
        )

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's state after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(*self._numbers, 1 - decay)
        if self._counters[0]:
            torch._foreach_copy_(*self._counters)

    @torch.no_grad()
    def hand_over(self) -> None:
        """Give the network the averaged weights for good, and average anew from there."""
        for name, value in self._network.items():
            value.copy_(self.state[name])
        self.updates = 0

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Give the network the averaged weights for a while.

        Buffers that an evaluation sets (a chosen threshold) stay with the average and are
        restored in the network.
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
        """What a checkpoint keeps."""
        return {"updates": self.updates, "state": self.state}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from a checkpoint."""
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        for name, value in state["state"].items():  # type: ignore[attr-defined]
            self.state[name].copy_(value)
