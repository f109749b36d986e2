import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from cellbench.config.sources import load_file
from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.engine.stages import enter_stage, learning_parameters
from cellbench.engine.work_progress import Display
from cellbench.models.batch import Batch
from cellbench.models.build import build_counter
from cellbench.models.parts import Backbone, FeatureShape
from cellbench.records.record_file import differing_keys
from cellbench_plugins._ops.weighing import END, WEIGHTS, added, rewards
from cellbench_plugins.methods.libranet import LibraNet


class Tiny(Backbone):
    """Four channels at stride 16, normalised over the batch."""

    def __init__(self):
        super().__init__()
        self.shapes = (FeatureShape(4, 16),)
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 16, 16), torch.nn.BatchNorm2d(4))

    def forward(self, images):
        return [self.layers(images)]


def tiny(**options):
    torch.manual_seed(0)
    return LibraNet(
        backbone=Tiny(), **{"hidden": 32, "memory_blocks": 256, "replayed": 64, **options}
    )


def batch(counter, sizes=((64, 64), (64, 64)), cells=20):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (h, w, 3), dtype=np.uint8) for w, h in sizes]
    names = [str(index) for index in range(len(arrays))]
    points = [torch.rand(cells, 2) * torch.tensor(size) for size in sizes]
    return Batch(counter.data_preprocessor.images(arrays, scale=1.0, image_ids=names), points)


def test_the_parameters_are_those_counted_by_hand():
    model = {**load_file(Path("configs/methods/libranet.py"))["model"], "hidden": 1024}
    counter = build_counter(model, load_weights=False)
    trunk = inputs = 0
    for channels in (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512):
        trunk += 9 * inputs * channels if inputs else 9 * 3 * channels
        trunk += 3 * channels  # bias, and the two of batch-norm
        inputs = channels
    policy = (512 + 8 * 9 + 57 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * 9
    assert sum(p.numel() for p in counter.parameters()) == trunk + (512 + 1) + policy
    assert counter.target.numel() == policy


def test_a_policy_that_would_always_add_turns_at_the_largest_class():
    counter = tiny()
    with torch.no_grad():
        counter.policy.last.bias.copy_(torch.tensor([0.0, 0, 0, 0.5, 1, 2, 3, 4, -9]))
    classes, actions = counter.weigh(torch.zeros(3, 4))
    assert actions[0].tolist() == [7, 7, 7, 7, 7, 6, 4, 3]  # five tens, 5, 1: full; so 1 down
    assert classes.tolist() == [55] * 3


@pytest.mark.parametrize("exploration", [0.0, 0.5, 1.0])
def test_no_weighing_ever_leaves_the_class_range(exploration):
    counter = tiny()
    classes, actions = counter.weigh(torch.randn(500, 4), exploration=exploration)
    path = added(actions).cumsum(dim=1)
    assert ((path >= 0) & (path <= 56)).all()
    assert path[:, -1].equal(classes)


def test_nothing_comes_after_the_end():
    counter = tiny()
    _, actions = counter.weigh(torch.randn(300, 4), exploration=1.0)
    over = (actions == END).cumsum(dim=1) - (actions == END).long() > 0
    assert (actions[over] == -1).all()
    assert (actions[~over] >= 0).all()
    assert over.any()


def test_exploration_falls_to_a_tenth_within_a_fifth():
    counter = tiny()
    shares = []
    for progress in (0.0, 0.1, 0.18, 0.5, 0.99):
        counter.begin_step("policy", progress)
        shares.append(counter.exploration)
    assert shares == pytest.approx([1.0, 0.5, 0.1, 0.1, 0.1])


def test_a_td_error_is_the_bellman_equation_state_by_state():
    counter = tiny()
    with torch.no_grad():
        for parameter in counter.policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        counter.target.add_(0.3 * torch.randn_like(counter.target))
    features, goals = torch.randn(5, 4), torch.tensor([0, 3, 20, 40, 56])
    actions = torch.tensor(
        [
            [5, END, -1, -1, -1, -1, -1, -1],
            [7, 7, 2, 2, END, -1, -1, -1],
            [7, 7, 7, 7, 7, 4, 4, 0],
            [4, 4, 3, 3, 4, 4, 4, 4],
            [7, 7, 7, 7, 7, 6, 4, END],
        ]
    )
    step = torch.tensor([0, 3, 7, 2, 6])
    # the copy as a network of its own
    copy = LibraNet(backbone=Tiny(), hidden=32).policy
    torch.nn.utils.vector_to_parameters(counter.target, copy.parameters())
    errors = []
    for feature, goal, taken, now in zip(features, goals, actions, step.tolist(), strict=True):
        past = [int(a) for a in taken[:now]]
        before = sum(WEIGHTS[a] for a in past)
        seen = torch.tensor(past + [-1] * (8 - now))
        said = counter.policy(feature, seen).detach()
        for action in range(END + 1):
            after = before + (WEIGHTS[action] if action != END else 0)
            if not 0 <= after <= 56:
                continue
            wanted = rewards(
                torch.tensor([before]), torch.tensor([action]), goal[None],
                top=56, last=torch.tensor([now == 7]),
            ).item()  # fmt: skip
            if action != END and now < 7:
                then = torch.tensor([*past, action] + [-1] * (7 - now))
                promised = copy(feature, then).detach()
                wanted += 0.9 * max(
                    float(promised[a])
                    for a in range(END + 1)
                    if a == END or 0 <= after + WEIGHTS[a] <= 56
                )
            errors.append(abs(float(said[action]) - wanted))
    found = counter.temporal_difference(features, goals, actions, step)
    assert float(found.detach()) == pytest.approx(sum(errors) / len(errors), rel=1e-5)


def test_without_stored_transitions_the_td_error_is_zero():
    counter = tiny()
    found = counter.temporal_difference(*counter.memory.draw(8))
    assert found.tolist() == 0.0
    found.backward()  # a step of a run goes on


def test_the_copy_is_renewed_at_the_start_of_each_of_its_parts():
    counter = tiny(copies=4)
    renewed = []
    for progress in (0.0, 0.1, 0.24, 0.25, 0.3, 0.6, 0.99):
        with torch.no_grad():
            counter.policy.last.bias.add_(1)
        before = counter.target.clone()
        counter.begin_step("policy", progress)
        counter.loss(batch(counter))
        renewed.append(not before.equal(counter.target))
    assert renewed == [True, False, False, True, False, True, True]


def test_the_trunk_stands_still_while_the_policy_learns():
    counter = tiny().train()
    learning = learning_parameters(counter)
    for stage, learns in zip(counter.stages, ("backbone", "policy"), strict=True):
        counter.zero_grad(set_to_none=True)
        before = {name: value.clone() for name, value in counter.backbone.state_dict().items()}
        enter_stage(stage, learning)
        counter.begin_step(stage.name, 0.5)
        sum(counter.loss(batch(counter)).values()).backward()
        with_gradient = {
            n.split(".")[0] for n, p in counter.named_parameters() if p.grad is not None
        }
        assert with_gradient == ({"backbone", "counter"} if learns == "backbone" else {"policy"})
        still = all(before[n].equal(v) for n, v in counter.backbone.state_dict().items())
        assert still is (learns == "policy"), "the batch statistics too"


def test_the_policy_learns_to_weigh_what_the_features_tell():
    counter = tiny(classes=12, hidden=64, copies=20, answer_scale=1.0)
    optimizer = torch.optim.AdamW(counter.policy.parameters(), lr=1e-2)
    features, goals = torch.eye(4)[:3], torch.tensor([0, 4, 11])
    counts = counter.values[goals]
    for step in range(200):
        counter.begin_step("policy", step / 200)
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 200)
        counter.experience(features.repeat(4, 1), counts.repeat(4))
        counter._renew_target()
        optimizer.zero_grad()
        counter.temporal_difference(*counter.memory.draw(128)).backward()
        optimizer.step()
    classes, _ = counter.weigh(features)
    assert classes.tolist() == goals.tolist()


@pytest.mark.parametrize("size", [(64, 64), (33, 20), (70, 64), (32, 96), (5, 7)])
def test_blocks_in_padding_do_not_count_and_the_density_sums_to_the_count(size):
    counter = tiny().eval()
    width, height = size
    images = batch(counter, sizes=[size, (96, 96)], cells=1).images
    counter.weigh = lambda features: (torch.full((len(features),), 21), None)
    (found, _) = counter.infer(images)
    blocks = -(-width // 32) * -(-height // 32)
    assert found.count == pytest.approx(blocks * float(counter.values[21]), rel=1e-6)
    assert found.points is None
    assert found.density.shape == (height, width)
    assert found.density.sum(dtype=np.float64) == pytest.approx(found.count, rel=1e-5)


def test_a_run_killed_among_the_policys_steps_goes_on_to_the_same_record(
    simulated_home, tmp_path, monkeypatch
):
    """Memory, copy and exploration go on where they stood."""
    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    overrides = (
        "model.backbone.strides=[2]", "model.backbone.weights=None", "model.hidden=16",
        "model.backbone.frozen_stages=0", "model.memory_blocks=16", "model.replayed=32",
        "data.batch_size=2", "data.input_scale=0.5", "data.augment.0.size=64",
        "schedule.validations=1", "model.counter_share=0.5",
    )  # fmt: skip
    asked = Request(
        "configs/methods/libranet.py", dataset="adi-sim", protocol="smoke", epochs=4,
        overrides=overrides, store=str(tmp_path / "whole"),
    )  # fmt: skip
    unbroken = run(asked)

    def interrupt(done, loss, mae):
        if done == 6:
            raise KeyboardInterrupt

    asked = dataclasses.replace(asked, store=str(tmp_path / "broken"))
    with pytest.raises(KeyboardInterrupt):
        run(asked, Display(step=interrupt))
    resumed = run(asked)
    assert unbroken.record["points"] is None
    assert differing_keys(resumed.record, unbroken.record) == []
