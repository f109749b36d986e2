"""Base class of all counting methods (`CellCounter`), and the stages of their training."""

import functools
import operator
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from mmengine.model import BaseModel
from torch import Tensor

from cellbench.models.batch import Batch, Images
from cellbench.models.parts import Backbone, Head
from cellbench.models.preprocess import Preprocessor
from cellbench.models.weights import RANDOM, WeightsInfo
from cellbench.registry import PartRegistry
from cellbench.structures import CellSample, Prediction


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Validation images on which a method chooses its thresholds.

    Attributes:
        candidates: per image the result of `infer`: every candidate with its score.
        truth: annotations of the same images.
        radius_px: match radius of the data set, px of the original image.
    """

    candidates: Sequence[Prediction]
    truth: Sequence[CellSample]
    radius_px: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the successive stages of a method's training.

    Attributes:
        name: passed to `begin_step`.
        share: of the run's steps, relative to the shares of the other stages.
        trained: name prefixes of the parameters that are trained in it, of those that require
            gradients at all; by default all.
    """

    name: str
    share: float = 1.0
    trained: tuple[str, ...] = ("",)


class CellCounter(BaseModel):
    """Base class of counting methods.

    A method implements `infer` and either `loss` or its two halves, `network` and `terms`; one
    with a threshold also `select` and `calibrate`; one that is not trained by gradient steps over
    batches overrides `fit`; one that is trained in several stages lists them in `stages` and
    switches between them in `begin_step`. State beyond the weights belongs in buffers or
    `get_extra_state`, so that checkpoints include it.

    Attributes:
        parts: options of the constructor that are parts, in the order in which they are built,
            each with its registry; a config gives a dict with a `type` for them.
        weights_info: weights that the trunk started from; set by `cellbench.models.build`.
        needs_points: False for a method that learns from the number of cells of an image alone.
        trained_by_steps: False for a method whose `fit` always trains: it has no `loss`, and no
            steps that a budget could be fitted to.
        learned_buffers: names of buffers with values learned without steps; they are counted as
            parameters.
        captures: whether the loss is `terms(network(pixels), batch)`, where `network` does the
            same operations at every step (no branch on values, stages or random numbers of
            Python): on a GPU it is then captured once and replayed.
        answers: outputs of `answer` by name, each with its meaning and how cells are read from it;
            empty for a method whose network cannot be exported.
        no_export: why it cannot be exported, as the end of a sentence.
    """

    parts: ClassVar[Mapping[str, PartRegistry]] = {}
    weights_info: WeightsInfo = RANDOM
    needs_points: ClassVar[bool] = True
    trained_by_steps: ClassVar[bool] = True
    learned_buffers: ClassVar[tuple[str, ...]] = ()
    captures: ClassVar[bool] = False
    answers: ClassVar[Mapping[str, str]] = {}
    no_export: ClassVar[str] = "its class does not state what its network answers (`answers`)"

    def __init__(self, *, size_multiple: int = 32, channels_last: bool = True) -> None:
        """Set up the preprocessing of images.

        Args:
            size_multiple: inputs are padded to a multiple of this many px.
            channels_last: memory format of the images.
        """
        super().__init__(
            data_preprocessor=Preprocessor(size_multiple=size_multiple, channels_last=channels_last)
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the terms of the training loss; those whose key starts with `loss` are summed."""
        return self.terms(self.network(batch.images.pixels), batch)

    def network(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the part of the loss that depends on the pixels alone.

        Args:
            pixels: (B, 3, H, W) float32, normalised.

        Returns:
            Tensors whose shapes follow from that of `pixels`; `terms` takes them.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither a loss nor a network")

    def terms(self, outputs: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """Compute the terms of the loss from the outputs of `network` for the batch's pixels."""
        raise NotImplementedError(f"{type(self).__name__} has neither a loss nor its terms")

    @abstractmethod
    def infer(self, images: Images) -> list[Prediction]:
        """Predict for each image all candidates with scores, before any threshold.

        Points are in px of the ORIGINAL image (divided by `images.scale`).
        """

    def answer(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs of the exported network, from which `infer` reads cells.

        Args:
            pixels: (B, 3, H, W) float32, normalised and padded.

        Returns:
            A tensor for each of `answers`, in their order.
        """
        raise NotImplementedError(f"{type(self).__name__} has no answer: {self.no_export}")

    def reading(self) -> dict[str, float]:
        """Return the parameters for reading cells from `answers`, by name, without thresholds."""
        return {}

    def select(self, candidates: Prediction) -> Prediction:
        """Apply the chosen thresholds to the candidates of one image."""
        return candidates

    def predict(self, images: Images) -> list[Prediction]:
        """Count the cells of each image."""
        return [self.select(candidates) for candidates in self.infer(images)]

    def calibrate(self, validation: ValidationSet) -> dict[str, float]:
        """Choose on validation the values that `select` needs.

        Returns:
            The chosen values by name, for the record; empty if there is nothing to choose.
        """
        return {}

    def fit(self, train: Any, validation: Any) -> bool:
        """Train the method without the training loop, if it can.

        Called at each start of a run that is not finished: what it computes must depend on its
        arguments alone.

        Args:
            train: the `TrainingSet`.
            validation: the `WholeImages` of the validation part.

        Returns:
            True if the method was trained here; False (the default) to be trained by steps.
        """
        return False

    @property
    def calibrates_count(self) -> bool:
        """Whether its count is corrected on validation images, see `cellbench.metrics.calibration`.

        False where `calibrate` chooses what determines the count, as a threshold on scored
        candidates, and where nothing may be chosen, as with a tool that is used unchanged.
        """
        return True

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Successive stages of a run, at least one; by default one that trains everything.

        Each has its own warm-up and decay of the learning rate, and starts from the final weights
        of the previous one (their moving average, where there is one). Validation and the choice
        of weights are in the last one.
        """
        return (Stage("training"),)

    def begin_step(self, stage: str, progress: float) -> None:
        """Prepare for the next step of a stage; called before every step, also after a resumption.

        Stage and progress depend on the number of the step alone.

        Args:
            stage: name of one of `stages`.
            progress: share of the stage's steps that are done, in [0, 1).
        """
        return

    def begin_inference(self) -> None:
        """Update state that depends on the weights, each time before whole images are counted.

        Called in evaluation mode without gradients. The images themselves may be counted by a
        copy of the method (see `cellbench.models.folding`), so that state has to be set here.
        """
        return

    def parameter_groups(self, *, lr: float, trunk_lr: float) -> list[dict[str, Any]]:
        """List the optimiser's parameter groups: trunks at `trunk_lr`, the rest at `lr`.

        Frozen parameters and empty groups are left out.
        """
        trunks = [module for module in self.modules() if isinstance(module, Backbone)]
        trunk_ids = {id(p) for trunk in trunks for p in trunk.parameters()}
        learning = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learning if id(p) in trunk_ids], "lr": trunk_lr},
            {"params": [p for p in learning if id(p) not in trunk_ids], "lr": lr},
        ]
        return [group for group in groups if group["params"]]

    def forward(
        self, batch: Batch | None = None, images: Images | None = None, mode: str = "loss"
    ) -> Any:
        """Dispatch for mmengine; call `loss` or `predict` instead."""
        if mode == "loss":
            if batch is None:
                raise ValueError("mode 'loss' needs a batch")
            return self.loss(batch)
        if images is None:
            raise ValueError(f"mode {mode!r} needs images")
        return self.predict(images) if mode == "predict" else self.infer(images)

    @property
    def untrained(self) -> Mapping[str, str]:
        """Parameter-name prefixes that receive no gradient, each with its reason."""
        return {
            f"{path}.{name}": why
            for path, module in self.named_modules()
            if isinstance(module, Backbone | Head)
            for name, why in module.untrained.items()
        }

    def freeze_untrained(self) -> None:
        """Freeze `untrained` parameters: data-parallel training would wait for their gradients."""
        untrained = tuple(self.untrained)
        for name, parameter in self.named_parameters():
            if name.startswith(untrained):
                parameter.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Device of the method's tensors."""
        device: torch.device = self.data_preprocessor.mean.device
        return device


def total_loss(terms: Mapping[str, Tensor]) -> Tensor:
    """Sum the terms whose key starts with `loss`, each averaged to a scalar.

    Raises:
        ValueError: there is none.
    """
    losses = [
        term.mean() if term.ndim else term
        for name, term in terms.items()
        if name.startswith("loss")
    ]
    if not losses:
        raise ValueError(f"no term of the loss starts with 'loss': {sorted(terms)}")
    return functools.reduce(operator.add, losses)
