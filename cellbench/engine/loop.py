"""The training loop that mmengine's Runner runs: steps from a deterministic stream."""

from dataclasses import dataclass
from typing import Any

import torch
from mmengine.runner import BaseLoop

from cellbench.data.seeds import step_seed
from cellbench.data.training_set import TrainingSet
from cellbench.engine.devices import Processes
from cellbench.engine.plan import Plan


@dataclass(frozen=True, slots=True)
class Stream:
    """A `TrainingSet` where mmengine looks for it: as the `dataset` of a data loader."""

    dataset: TrainingSet


class StepLoop(BaseLoop):
    """Trains by steps; each step's batch and chance depend on its number alone.

    So a resumed run draws what an unbroken one does. Validation, selection and checkpoints are
    hooks.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Stream,
        *,
        plan: Plan,
        seed: int,
        split: int,
        workers: int,
        processes: Processes,
    ) -> None:
        """Set the loop up.

        Args:
            runner: mmengine's.
            dataloader: the training images.
            plan: number of steps.
            seed: of the run.
            split: of the run.
            workers: loader processes.
            processes: place of this process among several.
        """
        super().__init__(runner, dataloader)
        self.plan = plan
        self.seed = seed
        self.split = split
        self.workers = workers
        self.processes = processes
        self._iter = 0
        self._epoch = 0
        self.stop_training = False
        self.val_begin = 1
        self.val_interval = plan.iterations

    @property
    def iter(self) -> int:
        """Steps done."""
        return self._iter

    @property
    def max_iters(self) -> int:
        """Steps to do."""
        return self.plan.iterations

    @property
    def epoch(self) -> int:
        """Passes done; steps are what counts here."""
        return self._epoch

    @property
    def max_epochs(self) -> int:
        """As mmengine asks for it."""
        return 1

    def run(self) -> torch.nn.Module:
        """Train from where the run stands to its end."""
        self.runner.call_hook("before_train")
        self.runner.model.train()
        batches = self.dataloader.dataset.batches(
            self._iter,
            self.plan.iterations,
            workers=self.workers,
            rank=self.processes.rank,
            world=self.processes.world,
        )
        for data in batches:
            self.run_step(data)
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_step(self, data: dict[str, Any]) -> None:
        """One step, with its own seed for what the network draws (dropout, noise)."""
        torch.manual_seed(step_seed(self.seed, self.split, self._iter, self.processes.rank))
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data)
        outputs = self.runner.model.train_step(data, optim_wrapper=self.runner.optim_wrapper)
        self.runner.call_hook(
            "after_train_iter", batch_idx=self._iter, data_batch=data, outputs=outputs
        )
        self._iter += 1
