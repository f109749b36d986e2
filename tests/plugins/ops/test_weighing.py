import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellbench_plugins._ops.weighing import (
    ACTIONS,
    END,
    WEIGHTS,
    WeighingMemory,
    added,
    allowed,
    rewards,
)

TOP = 56


def slow_reward(before, action, goal, last):
    """The published table, one action at a time."""
    after = before if action == END else before + WEIGHTS[action]
    if action == END or last:
        return 5 if after == goal else -5
    reachable = [before + w for w in WEIGHTS if 0 <= before + w <= TOP]
    falls = abs(after - goal) < abs(before - goal)
    best = falls and abs(after - goal) == min(abs(place - goal) for place in reachable)
    if after <= 1.5 * goal:
        return 3 if best else 1 if falls else -1
    return -1 if best else -3


@given(st.integers(0, TOP), st.integers(0, TOP), st.booleans())
def test_rewards_are_those_of_the_table(before, goal, last):
    actions = torch.arange(ACTIONS)[allowed(torch.tensor([before]), TOP)[0]]
    found = rewards(
        torch.full_like(actions, before),
        actions,
        torch.full_like(actions, goal),
        top=TOP,
        last=torch.full(actions.shape, last),
    )
    assert found.tolist() == [slow_reward(before, a, goal, last) for a in actions.tolist()]


@pytest.mark.parametrize(
    ("before", "weight", "goal", "last", "wanted"),
    [
        (20, None, 20, False, 5),  # ends where it should
        (19, None, 20, False, -5),
        (0, 10, 20, False, 3),  # nothing brings it nearer
        (0, 5, 20, False, 1),  # nearer, but 10 were better
        (20, 1, 20, False, -1),  # away from the goal
        (40, -10, 20, False, 3),  # 30 is not above 1.5 times the goal, and nothing comes nearer
        (50, -10, 20, False, -1),  # the best way down from far above
        (50, -5, 20, False, -3),  # a slower way down
        (50, 5, 20, False, -3),
        (19, 1, 20, True, 5),  # the last step may come to the goal
        (19, 2, 20, True, -5),
        (0, None, 0, False, 5),
        (0, 1, 0, False, -3),
    ],
)
def test_a_reward_made_by_hand(before, weight, goal, last, wanted):
    action = END if weight is None else WEIGHTS.index(weight)
    found = rewards(
        torch.tensor([before]), torch.tensor([action]), torch.tensor([goal]),
        top=TOP, last=torch.tensor([last]),
    )  # fmt: skip
    assert found.item() == wanted


def test_the_released_code_rewards_eight_of_all_allowed_actions_otherwise():
    """It takes for the best action one of all eight, also one that leaves the class range."""
    before, action = (x.flatten() for x in np.indices((TOP + 1, ACTIONS)))
    after = before + np.array([*WEIGHTS, 0])[action]
    before, action, after = (x[(after >= 0) & (after <= TOP)] for x in (before, action, after))
    differ, tried = [], 0
    for goal in range(TOP + 1):
        each = abs(before[:, None] + np.array(WEIGHTS) - goal)
        falls = abs(after - goal) < abs(before - goal)
        best = falls & (action == each.argmin(1))
        walk = np.where(best, 3, np.where(falls, 1, -1))
        walk[after > 1.5 * goal] = np.where(best, -1, -3)[after > 1.5 * goal]
        released = np.where(action == END, np.where(before == goal, 5, -5), walk)
        found = rewards(
            torch.from_numpy(before), torch.from_numpy(action),
            torch.full((len(before),), goal), top=TOP, last=torch.zeros(len(before)).bool(),
        ).numpy()  # fmt: skip
        tried += len(before)
        other = (released != found).nonzero()[0]
        differ += [(int(before[i]), WEIGHTS[action[i]], goal) for i in other]
    assert tried == 27_189
    assert sorted(differ) == [
        (4, -2, 0), (8, -5, 0), (9, -5, 0), (9, -5, 1),
        (47, 5, 55), (47, 5, 56), (48, 5, 56), (52, 2, 56),
    ]  # fmt: skip


def test_allowed_actions_never_leave_the_class_range():
    classes = torch.arange(TOP + 1)
    after = classes[:, None] + added(torch.arange(ACTIONS))
    can = allowed(classes, TOP)
    assert ((after >= 0) & (after <= TOP)).eq(can).all()
    assert can[:, END].all()


def memory(blocks=6):
    return WeighingMemory(blocks=blocks, channels=3, steps=2)


def weighings(first, number):
    numbers = torch.arange(first, first + number)
    features = numbers[:, None].float().expand(-1, 3) / 8  # exact in half precision
    kept = torch.tensor([[True, False]]).expand(number, 2)
    return features, numbers, torch.stack([numbers % 9, numbers * 0 - 1], dim=1), kept


def test_a_full_memory_forgets_the_oldest():
    kept = memory()
    for first in range(0, 20, 4):
        kept.put(*weighings(first, 4))
    features, goals, actions, step = kept.draw(400)
    assert sorted(set(goals.tolist())) == list(range(14, 20))
    assert features[:, 0].mul(8).eq(goals).all()
    assert actions[:, 0].eq(goals % 9).all()
    assert step.eq(0).all(), "what was not kept is not drawn"


def test_more_weighings_than_there_is_room_for_leave_the_last():
    kept = memory()
    kept.put(*weighings(0, 15))
    assert sorted(set(kept.draw(300)[1].tolist())) == list(range(9, 15))


def test_an_empty_memory_gives_nothing():
    features, goals, actions, step = memory().draw(5)
    assert [len(x) for x in (features, goals, actions, step)] == [0, 0, 0, 0]
    assert features.shape == (0, 3)


def test_a_memory_survives_a_checkpoint():
    kept, other = memory(), memory()
    kept.put(*weighings(0, 8))
    other.load_state_dict(kept.state_dict())
    for own in (kept, other):
        own.put(*weighings(8, 1))
    torch.manual_seed(3)
    wanted = kept.draw(50)
    torch.manual_seed(3)
    assert all(one.equal(two) for one, two in zip(wanted, other.draw(50), strict=True))
