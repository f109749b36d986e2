"""LibraNet: counts of image blocks by deep Q-learning."""

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
    """Q-network: the value of each action, from the features of a block and its actions so far.

    An MLP with two hidden layers, applied to every block. The history is encoded one-hot twice: as
    the action of each step (all zero where none was taken), and as the class that the actions add
    up to.

    Source: LibraNet, arXiv:2007.08260.

    Differs: LibraNet's input is the index of each action, from which the network would first have
        to learn the change of class and the exact current class. Weights have He initialisation,
        the last layer's are near 0; the authors' all have a deviation of 0.01.
    """

    def __init__(
        self, channels: int, *, steps: int, classes: int, hidden: int, scale: float
    ) -> None:
        """Build the network; before training the value of every action is almost 0.

        Args:
            channels: number of features of a block.
            steps: maximum number of actions of a weighing.
            classes: number of count classes.
            hidden: width of both hidden layers.
            scale: factor on the output of the last layer.
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
        """Compute the value of each action.

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
        values: Tensor = self.scale * self.last(F.relu(self.inner(hidden)))
        return values


@COUNTERS.register_module()
class LibraNet(CellCounter):
    """LibraNet: sequential counting of 32-px blocks by deep Q-learning, without points.

    A block starts at class 0 of 57 count classes. Given the block's features and the actions so
    far, the policy adds 10, 5, 2 or 1 to the class, subtracts as much, or ends; after at most 8
    actions the class is final (a "weighing"). The count of an image is the sum of the class values
    of its blocks. The policy is an MLP on the features of each block, a map of stride 32.

    Training has two stages. First the trunk is trained as a plain counter: a 1x1 convolution on the
    same map, whose softplus is compared with the blocks' counts. Then the trunk is frozen, and the
    policy learns from its own weighings. The share of random actions, drawn from those that keep
    the class within its range, falls from 1 to 0.1 within the first fifth of the stage. Weighings
    are stored in a replay memory, and the target network is a copy of the policy that is renewed
    `copies` times. Memory and copy are buffers, so that a resumed run continues identically.

    The density of a prediction spreads the count of a block evenly over the block.

    Source: Liu et al., "Weighing Counts: Sequential Crowd Counting by Reinforcement Learning",
        ECCV 2020, arXiv:2007.08260. Table 2 of DLA-Count, as "DQN": ADI 9.7, MBM 3.1, VGG 5.5,
        DCC 3.5; it cites the extension of 2022 (IEEE TNNLS 35), whose other forms have no code.

    Differs: the code of the trunk's first training is not public; here it is that of `counter`. By
        default the trunk has batch-norm, and takes RGB with ImageNet's normalisation; theirs has
        none and takes BGR minus a mean. The counts of blocks are those of cells spread by
        `sigma_px`; how the authors computed their class maps is not public. The random action never
        leaves the class range, which the released one does, and the value of a state is the best of
        the actions that stay in it, not of all. An update learns from all actions of a state, whose
        outcomes are known, not from the taken one alone, and from the first weighings on, not once
        the memory is full. Rates, batches and lengths are those of a short training on a CPU: the
        target is copied 40 times in the second stage instead of once in each of 100 epochs, an
        update learns from `replayed` states, not from 128 for every 100 new ones, and the output is
        scaled by 3 and not by 100, since AdamW learns it. The memory keeps a block's features once,
        in half precision, and its size is in blocks, not in transitions. Blocks of a partly padded
        column or row count; those wholly in padding are neither trained on nor counted, where the
        released code crops training images and counts the padding of test images.

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
        """Assemble trunk, counter and policy.

        Args:
            backbone: trunk whose coarsest map is pooled to stride 32.
            classes: number of count classes; with the default of 57 the last has 31.5 cells.
            hidden: width of the policy's two hidden layers.
            steps: maximum number of actions of a weighing.
            sigma_px: deviation of the Gaussian by which a cell is shared among blocks.
            discount: discount factor of future rewards.
            answer_scale: factor on the output of the policy's last layer.
            memory_blocks: capacity of the replay memory, in weighings.
            replayed: transitions per update.
            explored_crops: images of a batch that are weighed in a step with exploration.
            explored_share: share of the steps with exploration; the others only replay the memory.
            copies: number of times the target network is renewed in the second stage.
            easy_kept: share of the transitions at most one class off that the memory keeps.
            counter_share: share of the run's steps in which the trunk is trained as a counter.
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
        # As one vector and a buffer, so that neither the optimiser nor the parameter count has it.
        self.register_buffer("target", parameters_to_vector(self.policy.parameters()).detach())
        self.register_buffer("copied", torch.zeros((), dtype=torch.int64))
        self._stage, self._progress = POLICY, 0.0
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The training of the trunk as a counter, then of the policy on the frozen trunk."""
        return (
            Stage(COUNTER, share=self.counter_share, trained=("backbone.", "counter.")),
            Stage(POLICY, share=1 - self.counter_share, trained=("policy.",)),
        )

    def begin_step(self, stage: str, progress: float) -> None:
        """Set the stage; in that of the policy the trunk's batch-norm is frozen too."""
        self._stage, self._progress = stage, progress
        if stage == POLICY:
            self.backbone.eval()

    @property
    def exploration(self) -> float:
        """The share of random actions: from 1 down to 0.1 within the first fifth of the stage."""
        return max(0.1, 1 - 5 * self._progress)

    def parameter_groups(self, *, lr: float, trunk_lr: float) -> list[dict[str, Any]]:
        """Return the trunk at `trunk_lr` and the rest at `lr`, without frozen parameters."""
        trunk = [p for p in self.backbone.parameters() if p.requires_grad]
        rest = [*self.counter.parameters(), *self.policy.parameters()]
        groups = [{"params": trunk, "lr": trunk_lr}, {"params": rest, "lr": lr}]
        return [group for group in groups if group["params"]]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the counter's `loss_count` in the first stage, then the policy's `loss_td`."""
        if self._stage == COUNTER:
            features = self._features(batch.images)
            wanted, inside = self._true_counts(batch, features)
            counts = F.softplus(self.counter(features).float()).squeeze(1)
            return {"loss_count": F.smooth_l1_loss(counts[inside], wanted[inside], beta=0.5)}
        with torch.no_grad():
            # the generator is seeded per step, so that a resumed run explores in the same steps
            if float(torch.rand(())) < self.explored_share or not int(self.memory.filled):
                few = _first(batch, self.explored_crops)
                features = self._features(few.images)
                wanted, inside = self._true_counts(few, features)
                self.experience(features.permute(0, 2, 3, 1)[inside].float(), wanted[inside])
            self._renew_target()
        return {"loss_td": self.temporal_difference(*self.memory.draw(self.replayed))}

    @torch.no_grad()
    def infer(self, images: Images) -> list[Prediction]:
        """Predict the count of each image, and its density: block counts spread over pixels."""
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
        """Run the policy on blocks, from class 0 on.

        Args:
            features: (N, C) float32.
            exploration: share of actions drawn at random from those that keep the class in range.

        Returns:
            (N,) int64 classes and (N, steps) int64 actions, -1 after the end.
        """
        classes = torch.zeros(len(features), dtype=torch.int64, device=features.device)
        actions = classes.new_full((len(features), self.steps), -1)
        active = torch.ones_like(classes, dtype=torch.bool)
        for step in range(self.steps):
            can = weighing.allowed(classes, self.top)
            values = self._action_values(features, actions).masked_fill(~can, float("-inf"))
            chosen = values.argmax(dim=1)
            if exploration > 0 and len(classes):
                random = torch.multinomial(can.float(), 1).squeeze(1)
                explores = torch.rand(len(classes), device=classes.device) < exploration
                chosen = torch.where(explores, random, chosen)
            chosen = torch.where(active, chosen, -1)
            actions[:, step] = chosen
            classes = classes + weighing.added(chosen)
            active = active & (chosen != weighing.END)
        return classes, actions

    @torch.no_grad()
    def experience(self, features: Tensor, counts: Tensor) -> None:
        """Weigh blocks with exploration and store the weighings in the memory.

        Args:
            features: (N, C) float32.
            counts: (N,) float32, true counts of the blocks.
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
        """Compute the temporal-difference error of the policy.

        Args:
            features: (T, C) float32.
            goals: (T,) int64, true classes.
            actions: (T, steps) int64, of the whole weighings.
            step: (T,) int64, the step to learn from; the policy sees only the actions before it.

        Returns:
            () float32, the mean absolute difference over all actions that keep the class in
            range; 0 without transitions.
        """
        number = torch.arange(self.steps, device=goals.device)
        before = torch.where(number < step[:, None], actions, -1)
        can = weighing.allowed(weighing.added(before).sum(dim=1), self.top)
        wanted = self._target_values(features, goals, before, step)
        values = self._action_values(features, before)
        return (values - wanted).abs()[can].sum() / max(1, int(can.sum()))

    @torch.no_grad()
    def _target_values(
        self, features: Tensor, goals: Tensor, before: Tensor, step: Tensor
    ) -> Tensor:
        """Compute the reward of each action plus the discounted best value after it.

        The outcome of every action is known, so all are learned from, not only the taken one.

        Args:
            features: (T, C) float32.
            goals: (T,) int64, true classes.
            before: (T, steps) int64, the actions before `step`, -1 from there on.
            step: (T,) int64.

        Returns:
            (T, ACTIONS) float32.
        """
        each = torch.arange(weighing.ACTIONS, device=goals.device)
        classes = weighing.added(before).sum(dim=1, keepdim=True)  # (T, 1)
        last = step[:, None] == self.steps - 1  # (T, 1)
        earned = weighing.rewards(classes, each, goals[:, None], top=self.top, last=last)
        now = torch.arange(self.steps, device=goals.device) == step[:, None]  # (T, steps)
        after = torch.where(now[:, None], each[:, None], before[:, None])  # (T, ACTIONS, steps)
        values = self._action_values(features[:, None], after, target=True)
        within = weighing.allowed(classes + weighing.added(each), self.top)
        best = values.masked_fill(~within, float("-inf")).amax(dim=2)
        over = last | (each == weighing.END)
        return earned + torch.where(over, 0.0, self.discount * best)

    @property
    def top(self) -> int:
        """The largest class."""
        return len(self.values) - 1

    def _action_values(self, features: Tensor, actions: Tensor, *, target: bool = False) -> Tensor:
        """Compute the value of each action given the actions so far, by `Policy` or its copy."""
        with torch.autocast(device_type=features.device.type, enabled=False):
            if target:
                return torch.func.functional_call(self.policy, self._copy(), (features, actions))
            values: Tensor = self.policy(features, actions)
        return values

    def _copy(self) -> dict[str, Tensor]:
        """Return the copy's parameters by name, as views of `target`."""
        named = dict(self.policy.named_parameters())
        parts = self.target.split([parameter.numel() for parameter in named.values()])
        return {
            name: part.view_as(like)
            for part, (name, like) in zip(parts, named.items(), strict=True)
        }

    def _renew_target(self) -> None:
        """Copy the policy to `target` at the start of each of the `copies` parts of the stage."""
        due = int(self._progress * self.copies) + 1
        if int(self.copied) < due:
            self.target.copy_(parameters_to_vector(self.policy.parameters()))
            self.copied.fill_(due)

    def _features(self, images: Images) -> Tensor:
        """Compute the features of the blocks, (B, C, H/32, W/32)."""
        features: Tensor = self.pool(self.backbone(images.pixels)[-1])
        return features

    def _true_counts(self, batch: Batch, features: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the true counts of blocks, (B, rows, columns), and the mask of valid blocks."""
        rows, columns = features.shape[2:]
        sizes = batch.images.sizes
        wanted = block_counts(
            batch.points, sizes, (rows, columns), block_px=32, sigma_px=self.sigma_px
        )
        across = 32 * torch.arange(columns, device=sizes.device) < sizes[:, :1]
        down = 32 * torch.arange(rows, device=sizes.device) < sizes[:, 1:]
        return wanted, down[:, :, None] & across[:, None, :]


def _first(batch: Batch, number: int) -> Batch:
    """Return the first images of a batch."""
    images = batch.images
    few = copy.copy(images)
    few.pixels, few.sizes = images.pixels[:number], images.sizes[:number]
    few.image_ids = images.image_ids[:number]
    return Batch(few, batch.points[:number])


def _spread(counts: Tensor, length: int, dim: int) -> Tensor:
    """Spread the counts of blocks evenly over their pixels along one axis."""
    pixels = torch.full((counts.shape[dim],), 32)
    pixels[-1] = length - 32 * (counts.shape[dim] - 1)
    shape = [1, 1]
    shape[dim] = -1
    return (counts / pixels.view(shape)).repeat_interleave(pixels, dim=dim)
