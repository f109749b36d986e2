"""The losses of the steps, read without waiting for the device."""

import math
from collections import deque
from typing import Protocol

import torch
from torch import Tensor

from cellbench.errors import RunError


class LossSums(Protocol):
    """Where the losses since the last validation are added up."""

    loss_sum: float
    loss_steps: int


class LossWatch:
    """Adds up the losses of the steps and stops at one that is not a number.

    On a GPU a loss is copied to the host behind its step and read when it has arrived, a step or
    two later; `settle` waits for all. On a CPU each is read at once.

    Attributes:
        last: the latest loss that was read; NaN before the first.
    """

    def __init__(self, sums: LossSums) -> None:
        """Start without a loss.

        Args:
            sums: `loss_sum` and `loss_steps` are added to, in the order of the steps.
        """
        self.sums = sums
        self.last = math.nan
        self._pending: deque[tuple[int, Tensor, torch.cuda.Event]] = deque()

    def add(self, step: int, loss: Tensor) -> None:
        """Take the loss of a step.

        Raises:
            RunError: a loss that has arrived is NaN or infinite.
        """
        if loss.device.type != "cuda":
            self._read(step, loss)
            return
        on_host = torch.empty_like(loss, device="cpu", pin_memory=True)
        on_host.copy_(loss, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(loss.device))
        self._pending.append((step, on_host, arrived))
        if math.isnan(self.last):  # so that there is one to show
            self.settle()
        while self._pending and self._pending[0][2].query():
            self._read(*self._pending.popleft()[:2])

    def settle(self) -> None:
        """Read every loss, so that a checkpoint holds none that is not a number.

        Raises:
            RunError: one is NaN or infinite.
        """
        while self._pending:
            step, on_host, arrived = self._pending.popleft()
            arrived.synchronize()
            self._read(step, on_host)

    def _read(self, step: int, loss: Tensor) -> None:
        self.last = loss.item()
        if not math.isfinite(self.last):
            raise RunError(
                f"The loss was {self.last} at step {step}; the last good checkpoint is kept: "
                "lower optimizer.lr or set optimizer.clip_norm."
            )
        self.sums.loss_sum += self.last
        self.sums.loss_steps += 1
