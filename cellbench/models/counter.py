"""The contract that every method meets, whatever its paradigm."""

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
    """The images from which a method chooses its thresholds.

    Attributes:
        candidates: per image, what `infer` gave: every candidate with its score.
        truth: the annotations of the same images.
        radius_px: match radius of the data set, px of the original image.
    """

    candidates: Sequence[Prediction]
    truth: Sequence[CellSample]
    radius_px: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One of a method's successive trainings.

    Attributes:
        name: what `begin_step` hears.
        share: of the run's steps, relative to the shares of the other stages.
        trained: prefixes of the names of the parameters that learn in it, as far as they learn
            at all; by default all.
    """

    name: str
    share: float = 1.0
    trained: tuple[str, ...] = ("",)


class CellCounter(BaseModel):
    """A counting method.

    A method implements `infer` and either `loss` or its two halves, `network` and `terms`; one
    with a threshold also `select` and `calibrate`; one that is not trained by gradient steps over
    batches overrides `fit`; one that is trained in several stages states them in `stages` and
    hears of them in `begin_step`. State beyond the weights goes into buffers or `get_extra_state`,
    so that it travels with the checkpoint.

    Attributes:
        parts: options of the constructor that are parts, in the order in which they are made,
            each with the registry that it is from; a config has a dict with a `type` there.
        weights_info: what the trunk started from; set by `cellbench.models.build`.
        needs_points: False for a method that learns from the number of cells of an image alone.
        trained_by_steps: False for a method whose `fit` always trains: it has no `loss`, and no
            steps that a budget could be fitted to.
        learned_buffers: buffers that hold what was learned without steps; they are counted as
            parameters.
        captures: whether the loss is `terms(network(pixels), batch)`, where `network` does the
            same operations at every step (no branch on values, stages or random numbers of
            Python): on a GPU it is then recorded once and replayed.
        answers: what `answer` gives, by name, each with what it means and how cells are read from
            it; empty for a method whose network cannot be exported.
        no_export: why it cannot be, as the end of a sentence.
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
        """Set up what all methods share.

        Args:
            size_multiple: inputs are padded to a multiple of this many px.
            channels_last: memory format of the images.
        """
        super().__init__(
            data_preprocessor=Preprocessor(size_multiple=size_multiple, channels_last=channels_last)
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the training loss; keys that start with `loss` are summed."""
        return self.terms(self.network(batch.images.pixels), batch)

    def network(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The part of the loss that depends on the pixels alone.

        Args:
            pixels: (B, 3, H, W) float32, normalised.

        Returns:
            Tensors whose shapes follow from that of `pixels`; `terms` takes them.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither a loss nor a network")

    def terms(self, outputs: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss from what `network` made of the batch's pixels."""
        raise NotImplementedError(f"{type(self).__name__} has neither a loss nor its terms")

    @abstractmethod
    def infer(self, images: Images) -> list[Prediction]:
        """Run the network: per image all candidates with scores, before any threshold.

        Points are in px of the ORIGINAL image (divided by `images.scale`).
        """

    def answer(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """What an exported network gives: the pass that `infer` reads cells from, in one piece.

        Args:
            pixels: (B, 3, H, W) float32, normalised and padded.

        Returns:
            A tensor for each of `answers`, in their order.
        """
        raise NotImplementedError(f"{type(self).__name__} has no answer: {self.no_export}")

    def reading(self) -> dict[str, float]:
        """The numbers by which cells are read from `answers`, by name; thresholds are apart."""
        return {}

    def select(self, candidates: Prediction) -> Prediction:
        """Apply the chosen thresholds to the candidates of one image."""
        return candidates

    def predict(self, images: Images) -> list[Prediction]:
        """Count the cells of each image."""
        return [self.select(candidates) for candidates in self.infer(images)]

    def calibrate(self, validation: ValidationSet) -> dict[str, float]:
        """Choose on validation what `select` needs.

        Returns:
            The chosen values by name, for the record; empty if there is nothing to choose.
        """
        return {}

    def fit(self, train: Any, validation: Any) -> bool:
        """Replace the training loop.

        Args:
            train: the `TrainingSet`.
            validation: the `WholeImages` of the validation part.

        Called at each start of a run that is not finished: what it computes must depend on its
        arguments alone.

        Returns:
            True if the method trained itself here; False (the default) to be trained by steps.
        """
        return False

    @property
    def calibrates_count(self) -> bool:
        """Whether its count is corrected on validation images, see `cellbench.metrics.calibration`.

        Not where `calibrate` chooses what the count follows from, as a threshold on scored
        candidates, nor where nothing may be chosen, as with a tool that is used as it comes.
        """
        return True

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The successive trainings of a run, at least one; by default one of everything.

        Each has its own warm-up and fall of the learning rate. The weights that one ends with
        (their moving average, where there is one) are what the next begins with. Validation and
        the choice of weights are in the last one.
        """
        return (Stage("training"),)

    def begin_step(self, stage: str, progress: float) -> None:
        """Hear which training the next step belongs to; nothing else than the step decides it.

        Called before every step, also the first after a resumption.

        Args:
            stage: name of one of `stages`.
            progress: share of the stage's steps that are done, in [0, 1).
        """
        return

    def begin_inference(self) -> None:
        """Called in evaluation mode each time before whole images are counted, without gradients.

        What depends on the weights and belongs to the method is brought up to date here: the
        images themselves may be counted by a copy (see `cellbench.models.folding`).
        """
        return

    def parameter_groups(self, *, lr: float, trunk_lr: float) -> list[dict[str, Any]]:
        """The optimiser's parameter groups: trunks at `trunk_lr`, the rest at `lr`.

        What is frozen is left out, and so is a group without parameters.
        """
        trunks = [module for module in self.modules() if isinstance(module, Backbone)]
        known = {id(p) for trunk in trunks for p in trunk.parameters()}
        learning = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learning if id(p) in known], "lr": trunk_lr},
            {"params": [p for p in learning if id(p) not in known], "lr": lr},
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
        """Switch off what no gradient reaches, or data-parallel training would wait for it."""
        untrained = tuple(self.untrained)
        for name, parameter in self.named_parameters():
            if name.startswith(untrained):
                parameter.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the method's tensors live."""
        device: torch.device = self.data_preprocessor.mean.device
        return device


def total_loss(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of the terms whose key starts with `loss`, each averaged to a number.

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
