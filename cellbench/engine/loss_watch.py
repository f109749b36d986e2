"""Losses of the training steps, read without waiting for the device."""

import math
from collections import deque
from typing import Protocol

import torch
from torch import Tensor

from cellbench.errors import RunError


class LossSums(Protocol):
    """Sum and number of the losses since the last validation."""

    loss_sum: float
    loss_steps: int


class LossWatch:
    """Accumulator of the losses of steps, which raises at one that is not finite.

    On a GPU a loss is copied to the host behind its step and read when it has arrived, a step or
    two later; `settle` waits for all. On a CPU each is read at once.

    Attributes:
        last: latest loss that was read; NaN before the first.
    """

    def __init__(self, sums: LossSums) -> None:
        """Start without losses.

        Args:
            sums: `loss_sum` and `loss_steps` are added to, in the order of the steps.
        """
        self.sums = sums
        self.last = math.nan
        self._pending: deque[tuple[int, Tensor, torch.cuda.Event]] = deque()

    def add(self, step: int, loss: Tensor) -> None:
        """Add the loss of a step.

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
        if math.isnan(self.last):  # the progress display needs a first loss
            self.settle()
        while self._pending and self._pending[0][2].query():
            self._read(*self._pending.popleft()[:2])

    def settle(self) -> None:
        """Wait for and read all losses, so that no checkpoint follows one that is not finite.

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
