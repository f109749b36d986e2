"""Environment and replay memory of LibraNet: actions, rewards and stored weighings."""

import torch
from torch import Tensor, nn

# Change of the class by each action; a further action, END, ends the weighing.
WEIGHTS = (-10, -5, -2, -1, 1, 2, 5, 10)
END = len(WEIGHTS)
ACTIONS = END + 1


def added(actions: Tensor) -> Tensor:
    """Return the changes of the class by actions.

    Args:
        actions: any shape, int64 in 0..END; -1 after the end of a weighing.

    Returns:
        int64 of the same shape; 0 for the end and after it.
    """
    table = torch.tensor([*WEIGHTS, 0, 0], device=actions.device)  # -1 takes the last
    return table[actions]


def allowed(classes: Tensor, top: int) -> Tensor:
    """Select the actions that keep the class within 0..top; END always does.

    Args:
        classes: any shape, int64.
        top: largest class.

    Returns:
        (..., ACTIONS) bool.
    """
    after = classes[..., None] + added(torch.arange(ACTIONS, device=classes.device))
    return (after >= 0) & (after <= top)


def rewards(classes: Tensor, actions: Tensor, goals: Tensor, *, top: int, last: Tensor) -> Tensor:
    """Compute the reward of each action.

    END, and any action in the last step, earns 5 if the resulting class is the goal, else -5. Of
    the other actions, one that leads to at most 1.5 times the goal earns 3 if it comes nearer than
    before and no action comes nearer, 1 if it only comes nearer than before, and -1 otherwise. One
    that leads above that earns -1 if it comes nearer than before and no action comes nearer, else
    -3.

    Source: LibraNet, arXiv:2007.08260; its released code for details not in the paper.

    Differs: only actions that keep the class within its range are compared. The released code
        compares all, so that near both ends of the range no allowed action may be the nearest: 8
        of all 27,189 triples of class, goal and allowed action earn something else.

    Args:
        classes: any shape, int64, before the action.
        actions: int64 in 0..END; the shapes broadcast.
        goals: int64, the true classes.
        top: largest class.
        last: bool, whether this is the last step.

    Returns:
        float32 of the broadcast shape.
    """
    after = classes + added(actions)
    error = (after - goals).abs()
    falls = error < (classes - goals).abs()
    each = (
        classes[..., None] + added(torch.arange(END, device=classes.device)) - goals[..., None]
    ).abs()
    each = each.masked_fill(~allowed(classes, top)[..., :END], 2 * top + WEIGHTS[-1])
    best = falls & (error == each.amin(dim=-1))
    near = after <= 1.5 * goals
    walk = torch.where(
        near,
        torch.where(best, 3.0, torch.where(falls, 1.0, -1.0)),
        torch.where(best, -1.0, -3.0),
    )
    final = torch.where(error == 0, 5.0, -5.0)
    return torch.where(last | (actions == END), final, walk)


class WeighingMemory(nn.Module):
    """Replay memory of the latest weighings of blocks, as buffers saved in checkpoints.

    A weighing is stored as the block's features, once and in half precision, and the actions, from
    which classes, histories and rewards follow. That is 1 kB for up to 8 transitions. The bits of
    the features are stored as integers, which a moving average of the weights does not change.

    Attributes:
        cursor: () int64, position of the next weighing.
        filled: () int64, number of weighings.
    """

    features: Tensor
    goals: Tensor
    actions: Tensor
    kept: Tensor
    cursor: Tensor
    filled: Tensor

    def __init__(self, *, blocks: int, channels: int, steps: int) -> None:
        """Allocate the buffers.

        Args:
            blocks: capacity, in weighings.
            channels: number of features of a block.
            steps: maximum number of actions of a weighing.
        """
        super().__init__()
        self.register_buffer("features", torch.zeros(blocks, channels, dtype=torch.int16))
        self.register_buffer("goals", torch.zeros(blocks, dtype=torch.int16))
        self.register_buffer("actions", torch.full((blocks, steps), -1, dtype=torch.int8))
        self.register_buffer("kept", torch.zeros(blocks, steps, dtype=torch.bool))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def put(self, features: Tensor, goals: Tensor, actions: Tensor, kept: Tensor) -> None:
        """Store weighings in place of the oldest; of more than the capacity, only the last.

        Args:
            features: (N, C) float.
            goals: (N,) int64.
            actions: (N, steps) int64; -1 after the end.
            kept: (N, steps) bool, the transitions that may be drawn.
        """
        room = len(self.goals)
        new = min(len(goals), room)
        rows = (self.cursor + torch.arange(new, device=self.goals.device)) % room
        self.features[rows] = features[-new:].half().view(torch.int16)
        self.goals[rows] = goals[-new:].to(torch.int16)
        self.actions[rows] = actions[-new:].to(torch.int8)
        self.kept[rows] = kept[-new:]
        self.cursor.copy_((self.cursor + new) % room)
        self.filled.copy_((self.filled + new).clamp(max=room))

    def draw(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw transitions uniformly, with replacement.

        Returns:
            features (number, C) float32, goals (number,) int64, actions (number, steps) int64,
            step (number,) int64; all empty if nothing is kept.
        """
        places = self.kept[: int(self.filled)].nonzero()  # (T, 2)
        if not len(places):
            places, number = places.new_zeros(1, 2), 0
        rows, steps = places[torch.randint(len(places), (number,), device=places.device)].unbind(1)
        features = self.features[rows].view(torch.half).float()
        return features, self.goals[rows].long(), self.actions[rows].long(), steps
