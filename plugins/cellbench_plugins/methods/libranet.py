"""LibraNet: a policy that weighs the count of each block of an image."""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.counter import CellCounter, Stage
from cellbench.models.parts import Backbone
from cellbench.registry import BACKBONES, COUNTERS, PartRegistry
from cellbench.structures import Prediction
from cellbench_plugins._ops import weighing
from cellbench_plugins._ops.count_classes import (
    block_counts,
    class_bounds,
    class_of,
    class_values,
)

COUNTER, POLICY = "counter", "policy"


class Policy(nn.Module):
    """What each action is worth, from the features of a block and the actions taken so far.

    An MLP with two hidden layers on every block: 1x1 convolutions on the map of all blocks. The
    actions come in as one of nine at each step, none where none was taken, and as one of the
    classes, the one that they add up to.

    Source: LibraNet, arXiv:2007.08260.

    Differs: LibraNet gives the network the actions' numbers. It would have to learn first what
        each adds to the class, and to tell exactly where the class then stands. Weights start by
        He's rule, the last layer's near 0; the authors' all have a deviation of 0.01.
    """

    def __init__(
        self, channels: int, *, steps: int, classes: int, hidden: int, scale: float
    ) -> None:
        """Make the network; before training its value of every action is almost 0.

        Args:
            channels: features of a block.
            steps: most actions of a weighing.
            classes: of counts.
            hidden: width of both hidden layers.
            scale: what the last layer is multiplied by.
        """
        super().__init__()
        self.features = nn.Linear(channels, hidden)
        self.history = nn.Linear(steps * weighing.ACTIONS + classes, hidden, bias=False)
        self.classes = classes
        self.inner = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, weighing.ACTIONS)
        self.scale = scale
        for layer in (self.features, self.history, self.inner):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(self.last.weight, std=1e-3)

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        """The worth of each action.

        Args:
            features: (..., C) float32.
            actions: (..., steps) int64 in 0..END, -1 where none was taken; the leading
                dimensions broadcast with those of `features`.

        Returns:
            (..., ACTIONS) float32.
        """
        taken = F.one_hot(actions + 1, weighing.ACTIONS + 1)[..., 1:].flatten(-2)
        stands = weighing.added(actions).sum(dim=-1).clamp(0, self.classes - 1)
        placed = F.one_hot(stands, self.classes)
        history = self.history(torch.cat([taken, placed], dim=-1).to(features.dtype))
        hidden = F.relu(self.features(features) + history)
        worth: Tensor = self.scale * self.last(F.relu(self.inner(hidden)))
        return worth


@COUNTERS.register_module()
class LibraNet(CellCounter):
    """Weighs the count of each 32-px block by deep Q-learning, as a scale weighs goods.

    A block starts at class 0 of 57 count classes. The policy, seeing the block's features and
    the actions taken so far, adds 10, 5, 2 or 1 to the class, takes as much away, or ends; after
    at most 8 actions the class stands, and the image counts the sum of its blocks' class values.
    All blocks of a batch are weighed at once. The policy is an MLP on every block: 1x1
    convolutions on the map of stride 32.

    Two stages. First the trunk learns as a plain counter: a 1x1 convolution on the same map, its
    softplus against the blocks' counts. Then the trunk stands still and the policy learns from
    weighings that it has made itself: one action in `1 / exploration` at random at first, one in
    ten from the first fifth on, drawn from what keeps the class within its range. They are kept
    in a memory of blocks and compared with a copy of the policy that is renewed `copies` times.
    Memory and copy are buffers: a resumed run goes on as an unbroken one does.

    It has no points; its density spreads the count of a block evenly over the block.

    Source: Liu et al., "Weighing Counts: Sequential Crowd Counting by Reinforcement Learning",
        ECCV 2020, arXiv:2007.08260. Table 2 of DLA-Count, as "DQN": ADI 9.7, MBM 3.1, VGG 5.5,
        DCC 3.5; it cites the extension of 2022 (IEEE TNNLS 35), whose other forms have no code.

    Differs: the code of the trunk's first training is not public; here it is that of `counter`. By
        default the trunk has batch-norm, and sees ImageNet's normalisation of RGB; theirs has none
        and sees BGR less a mean. What blocks hold is cut from cells spread by `sigma_px`; how the
        authors made their maps of classes is not public. The random action never leaves the class
        range, which the released one does, and what a state promises is the best of the actions
        that stay in it, not of all. An update learns from all actions of a state, whose outcomes
        are known, not from the taken one alone, and from the first weighings on, not once the
        memory is full. Rates, batches and lengths are those of a short training on a CPU: the
        target is copied 40 times in the second stage instead of once in each of 100 epochs, an
        update learns from `replayed` states, not from 128 for every 100 new ones, and the answer is
        scaled by 3 and not by 100, for AdamW learns it. The memory keeps a block's features once,
        in half precision, and so many blocks, not transitions. Blocks of a partly padded column or
        row count; what lies wholly in padding neither learns nor counts, where the released code
        cuts training images and counts the padding of test images.

    Attributes:
        values: (classes,) float32, the count of each class.
    """

    values: Tensor
    bounds: Tensor
    target: Tensor
    copied: Tensor

    parts: ClassVar[Mapping[str, PartRegistry]] = {"backbone": BACKBONES}
    no_export: ClassVar[str] = (
        "its count is what a policy has weighed in several turns, each of which depends on the "
        "last, and no answer of one pass"
    )

    def __init__(
        self,
        *,
        backbone: Backbone,
        classes: int = 57,
        hidden: int = 1024,
        steps: int = 8,
        sigma_px: float = 4.0,
        discount: float = 0.9,
        answer_scale: float = 3.0,
        memory_blocks: int = 2048,
        replayed: int = 256,
        explored_crops: int = 1,
        explored_share: float = 1.0,
        copies: int = 40,
        easy_kept: float = 0.5,
        counter_share: float = 0.35,
        channels_last: bool = True,
    ) -> None:
        """Put trunk, counter and policy together.

        Args:
            backbone: its coarsest map is pooled down to stride 32.
            classes: of counts; the last stands for 31.5 cells with the default of 57.
            hidden: width of the policy's two hidden layers.
            steps: most actions of a weighing.
            sigma_px: deviation that cells are spread with before they are counted by blocks.
            discount: of what later actions earn.
            answer_scale: what the policy's last layer is multiplied by.
            memory_blocks: weighings that are kept.
            replayed: transitions an update learns from.
            explored_crops: images of a batch that are weighed anew in a step that explores.
            explored_share: share of the steps that do; the others only learn from the memory.
            copies: how often the copy is renewed in the second stage.
            easy_kept: share of the transitions at most one class off that go into the memory.
            counter_share: of the run's steps in which the trunk learns as a counter.
            channels_last: memory format of images and weights.

        Raises:
            PartError: the trunk's stride does not divide 32, or a number is out of range.
        """
        super().__init__(size_multiple=32, channels_last=channels_last)
        shape = backbone.shapes[-1]
        if 32 % shape.stride:
            raise PartError(
                f"LibraNet: blocks of 32 px cannot be pooled from stride {shape.stride}."
            )
        if classes < 3 or steps < 1 or not 0 < counter_share < 1 or not 0 < explored_share <= 1:
            raise PartError(
                "LibraNet: there are at least 3 classes and 1 step, and counter_share and "
                "explored_share are between 0 and 1, not "
                f"{classes}, {steps}, {counter_share} and {explored_share}."
            )
        self.backbone = backbone
        self.pool = nn.MaxPool2d(32 // shape.stride)
        self.counter = nn.Conv2d(shape.channels, 1, 1)
        self.policy = Policy(
            shape.channels, steps=steps, classes=classes, hidden=hidden, scale=answer_scale
        )
        self.steps = steps
        self.sigma_px = sigma_px
        self.discount = discount
        self.replayed = replayed
        self.explored_crops = explored_crops
        self.explored_share = explored_share
        self.copies = copies
        self.easy_kept = easy_kept
        self.counter_share = counter_share
        self.memory = weighing.WeighingMemory(
            blocks=memory_blocks, channels=shape.channels, steps=steps
        )
        self.register_buffer("values", class_values(classes), persistent=False)
        self.register_buffer("bounds", class_bounds(classes), persistent=False)
        # As one vector: no parameters that an optimiser, or a count of parameters, would meet.
        self.register_buffer("target", parameters_to_vector(self.policy.parameters()).detach())
        self.register_buffer("copied", torch.zeros((), dtype=torch.int64))
        self._stage, self._progress = POLICY, 0.0
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The trunk as a counter, then the policy on a trunk that stands still."""
        return (
            Stage(COUNTER, share=self.counter_share, trained=("backbone.", "counter.")),
            Stage(POLICY, share=1 - self.counter_share, trained=("policy.",)),
        )

    def begin_step(self, stage: str, progress: float) -> None:
        """Take the stage; in that of the policy the trunk's batch-norm stands still too."""
        self._stage, self._progress = stage, progress
        if stage == POLICY:
            self.backbone.eval()

    @property
    def exploration(self) -> float:
        """The share of random actions: from 1 down to 0.1 within the first fifth of the stage."""
        return max(0.1, 1 - 5 * self._progress)

    def parameter_groups(self, *, lr: float, trunk_lr: float) -> list[dict[str, Any]]:
        """The trunk at `trunk_lr`, the rest at `lr`; what is frozen is left out."""
        trunk = [p for p in self.backbone.parameters() if p.requires_grad]
        rest = [*self.counter.parameters(), *self.policy.parameters()]
        groups = [{"params": trunk, "lr": trunk_lr}, {"params": rest, "lr": lr}]
        return [group for group in groups if group["params"]]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The counter's `loss_count` in the first stage, the policy's `loss_td` in the second."""
        if self._stage == COUNTER:
            features = self._features(batch.images)
            wanted, inside = self._wanted(batch, features)
            counts = F.softplus(self.counter(features).float()).squeeze(1)
            return {"loss_count": F.smooth_l1_loss(counts[inside], wanted[inside], beta=0.5)}
        with torch.no_grad():
            # the draw is of the step's own seed: a resumed run explores in the same steps
            if float(torch.rand(())) < self.explored_share or not int(self.memory.filled):
                few = _first(batch, self.explored_crops)
                features = self._features(few.images)
                wanted, inside = self._wanted(few, features)
                self.experience(features.permute(0, 2, 3, 1)[inside].float(), wanted[inside])
            self._renew_target()
        return {"loss_td": self.temporal_difference(*self.memory.draw(self.replayed))}

    @torch.no_grad()
    def infer(self, images: Images) -> list[Prediction]:
        """The count of each image, and the counts of its blocks spread over its pixels."""
        features = self._features(images)
        rows, columns = features.shape[2:]
        vectors = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1]).float()
        classes, _ = self.weigh(vectors)
        counts = self.values[classes].view(-1, rows, columns).cpu()
        found = []
        for own, (width, height) in zip(counts, images.sizes.tolist(), strict=True):
            inside = own[: -(-height // 32), : -(-width // 32)]
            spread = _spread(_spread(inside, height, 0), width, 1)
            found.append(Prediction(count=float(inside.double().sum()), density=spread.numpy()))
        return found

    @torch.no_grad()
    def weigh(self, features: Tensor, *, exploration: float = 0.0) -> tuple[Tensor, Tensor]:
        """Weigh blocks from class 0 on.

        Args:
            features: (N, C) float32.
            exploration: share of actions that are drawn from all that keep the class in range.

        Returns:
            (N,) int64 classes and (N, steps) int64 actions, -1 after the end.
        """
        classes = torch.zeros(len(features), dtype=torch.int64, device=features.device)
        actions = classes.new_full((len(features), self.steps), -1)
        weighs = torch.ones_like(classes, dtype=torch.bool)
        for step in range(self.steps):
            can = weighing.allowed(classes, self.top)
            answers = self._answers(features, actions).masked_fill(~can, float("-inf"))
            chosen = answers.argmax(dim=1)
            if exploration > 0 and len(classes):
                random = torch.multinomial(can.float(), 1).squeeze(1)
                explores = torch.rand(len(classes), device=classes.device) < exploration
                chosen = torch.where(explores, random, chosen)
            chosen = torch.where(weighs, chosen, -1)
            actions[:, step] = chosen
            classes = classes + weighing.added(chosen)
            weighs = weighs & (chosen != weighing.END)
        return classes, actions

    @torch.no_grad()
    def experience(self, features: Tensor, counts: Tensor) -> None:
        """Weigh blocks with exploration and keep the weighings.

        Args:
            features: (N, C) float32.
            counts: (N,) float32, of the same blocks.
        """
        goals = class_of(counts, self.bounds)
        _, actions = self.weigh(features, exploration=self.exploration)
        classes = weighing.added(actions).cumsum(dim=1).roll(1, dims=1)
        classes[:, 0] = 0  # before each action
        easy = (classes - goals[:, None]).abs() <= 1
        luck = torch.rand(actions.shape, device=actions.device) < self.easy_kept
        self.memory.put(features, goals, actions, (actions >= 0) & (luck | ~easy))

    def temporal_difference(
        self, features: Tensor, goals: Tensor, actions: Tensor, step: Tensor
    ) -> Tensor:
        """How far the policy's answers are from what the actions earn and promise.

        Args:
            features: (T, C) float32.
            goals: (T,) int64.
            actions: (T, steps) int64, of the whole weighings.
            step: (T,) int64, the step that is learned from; actions from there on are not seen.

        Returns:
            () float32, the mean absolute difference over all actions that keep the class in
            range; 0 without transitions.
        """
        states, device = len(goals), goals.device
        number = torch.arange(self.steps, device=device)
        before = torch.where(number < step[:, None], actions, -1)
        classes = weighing.added(before).sum(dim=1)
        can = weighing.allowed(classes, self.top)
        with torch.no_grad():
            # What comes of an action is known, so all are learned from, not the taken one alone.
            each = torch.arange(weighing.ACTIONS, device=device).repeat(states)
            own = torch.arange(states, device=device).repeat_interleave(weighing.ACTIONS)
            last = (step == self.steps - 1)[own]
            earned = weighing.rewards(classes[own], each, goals[own], top=self.top, last=last)
            after = before[own].scatter(1, step[own, None], each[:, None])
            promised = self._answers(
                features[:, None], after.view(states, weighing.ACTIONS, -1), target=True
            ).flatten(0, 1)
            within = weighing.allowed(classes[own] + weighing.added(each), self.top)
            promised = promised.masked_fill(~within, float("-inf")).amax(dim=1)
            over = last | (each == weighing.END)
            wanted = earned + torch.where(over, 0.0, self.discount * promised)
        answers = self._answers(features, before)
        return (answers - wanted.view_as(answers)).abs()[can].sum() / max(1, int(can.sum()))

    @property
    def top(self) -> int:
        """The largest class."""
        return len(self.values) - 1

    def _answers(self, features: Tensor, actions: Tensor, *, target: bool = False) -> Tensor:
        """The value of each action after the actions so far, by `Policy` or its copy."""
        with torch.autocast(device_type=features.device.type, enabled=False):
            if target:
                return torch.func.functional_call(self.policy, self._copy(), (features, actions))
            worth: Tensor = self.policy(features, actions)
        return worth

    def _copy(self) -> dict[str, Tensor]:
        """The copy's parameters by name, views of `target`."""
        named = dict(self.policy.named_parameters())
        parts = self.target.split([parameter.numel() for parameter in named.values()])
        return {
            name: part.view_as(like)
            for part, (name, like) in zip(parts, named.items(), strict=True)
        }

    def _renew_target(self) -> None:
        """Copy the policy where a new one of the `copies` parts of the stage begins."""
        due = int(self._progress * self.copies) + 1
        if int(self.copied) < due:
            self.target.copy_(parameters_to_vector(self.policy.parameters()))
            self.copied.fill_(due)

    def _features(self, images: Images) -> Tensor:
        """(B, C, H/32, W/32) features of the blocks."""
        features: Tensor = self.pool(self.backbone(images.pixels)[-1])
        return features

    def _wanted(self, batch: Batch, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, rows, columns) counts of the blocks, and whether each holds a pixel of its image."""
        rows, columns = features.shape[2:]
        sizes = batch.images.sizes
        wanted = block_counts(
            batch.points, sizes, (rows, columns), block_px=32, sigma_px=self.sigma_px
        )
        across = 32 * torch.arange(columns, device=sizes.device) < sizes[:, :1]
        down = 32 * torch.arange(rows, device=sizes.device) < sizes[:, 1:]
        return wanted, down[:, :, None] & across[:, None, :]


def _first(batch: Batch, number: int) -> Batch:
    """The first images of a batch."""
    images = batch.images
    few = copy.copy(images)
    few.pixels, few.sizes = images.pixels[:number], images.sizes[:number]
    few.image_ids = images.image_ids[:number]
    return Batch(few, batch.points[:number])


def _spread(counts: Tensor, length: int, dim: int) -> Tensor:
    """Share what blocks hold evenly among their pixels along one axis."""
    pixels = torch.full((counts.shape[dim],), 32)
    pixels[-1] = length - 32 * (counts.shape[dim] - 1)
    shape = [1, 1]
    shape[dim] = -1
    return (counts / pixels.view(shape)).repeat_interleave(pixels, dim=dim)
