"""A counter of a few weights, twelve small pictures, and the training loop in plain PyTorch."""

import copy
import math

import numpy as np
import torch
from torch import nn

from cellbench.config.schema import (
    DataConfig,
    MethodInfo,
    OptimizerConfig,
    ResolvedConfig,
    ScheduleConfig,
)
from cellbench.data.seeds import step_seed
from cellbench.data.training_set import TrainingSet
from cellbench.engine.devices import ALONE
from cellbench.engine.training_state import Training
from cellbench.models.counter import CellCounter, Stage
from cellbench.structures import CellSample, Prediction

SIDE = 8
ONE, TWO = (Stage("all"),), (Stage("trunk", 1.0, ("trunk.",)), Stage("all", 2.0))


class Pictures:
    """Twelve pictures of 8x8 px, the brighter the more cells they have."""

    ids = tuple(f"p{number}" for number in range(12))

    def sample(self, image_id):
        number = int(image_id[1:])
        points = np.random.default_rng(number).random((number % 5, 2), dtype=np.float32)
        return CellSample(image_id, SIDE * points, (SIDE, SIDE))

    def pixels(self, image_id):
        rng = np.random.default_rng(int(image_id[1:]))
        bright = 30 * self.sample(image_id).count
        return rng.integers(bright, bright + 80, (SIDE, SIDE, 3), dtype=np.uint8)


class TinyCounter(CellCounter):
    """Counts by two convolutions, with what makes training steps differ: norm and dropout."""

    stages = ONE

    def __init__(self, stages=ONE):
        super().__init__(size_multiple=1, channels_last=False)
        self.stages = stages
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()
        )
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Conv2d(4, 1, 1)

    def counts(self, pixels):
        return self.head(self.dropout(self.trunk(pixels))).mean(dim=(1, 2, 3))

    def network(self, pixels):
        return (self.counts(pixels),)

    def terms(self, outputs, batch):
        wanted = torch.tensor([float(len(points)) for points in batch.points])
        return {"loss": (outputs[0] - wanted).square()}

    def infer(self, images):
        return [Prediction(count=count.item()) for count in self.counts(images.pixels)]


def whole(*image_ids):
    """Pictures as they are validated and scored, two a batch."""
    pictures = Pictures()
    return [
        (
            {"arrays": [pictures.pixels(i) for i in pair], "scale": 1.0, "image_ids": list(pair)},
            [pictures.sample(i) for i in pair],
        )
        for pair in zip(image_ids[::2], image_ids[1::2], strict=True)
    ]


def training(folder, *, stages=ONE, validation=True, processes=ALONE, **schedule):
    """A training of the counter on the CPU; the same one for the same arguments."""
    torch.manual_seed(0)
    config = ResolvedConfig(
        method=MethodInfo("Tiny"),
        recipe=1,
        model={},
        optimizer=OptimizerConfig(lr=0.05, weight_decay=0.1, clip_norm=2.0),
        schedule=ScheduleConfig(warmup=0.2, final_lr=0.1, **schedule),
        data=DataConfig(set="tiny", radius_px=2.0, epochs=1),
    )
    train = TrainingSet(
        Pictures(), Pictures.ids[:8], transforms=[], seed=3, split=1, crops_per_image=1,
        batch_size=4,
    )  # fmt: skip
    return Training(
        counter=TinyCounter(stages),
        config=config,
        train=train,
        validation=whole(*Pictures.ids[8:]) if validation else None,
        seed=3,
        split=1,
        device=torch.device("cpu"),
        precision="float32",
        processes=processes,
        workers=0,
        folder=folder,
    )


MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)  # of ImageNet, as torchvision has them
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


def plain_loop(given, lengths, *, ema=None, rank=0, world=1):
    """The same training without any of the engine's parts.

    Args:
        given: what `training` made; its counter is copied.
        lengths: steps of each stage.
        ema: decay of the moving average.
        rank: of the process.
        world: number of processes.

    Returns:
        The losses of all steps; after each step the weights, and their average (the same where
        there is none).
    """
    counter, optimizer_config = copy.deepcopy(given.counter).train(), given.config.optimizer
    schedule = given.config.schedule
    decayed = [p for p in counter.parameters() if p.ndim > 1]
    others = [p for p in counter.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    )
    losses, weights, averages, step = [], [], [], 0
    average, updates = copy.deepcopy(counter.state_dict()), 0
    for stage, length in zip(counter.stages, lengths, strict=True):
        for name, parameter in counter.named_parameters():
            parameter.requires_grad_(any(name.startswith(prefix) for prefix in stage.trained))
        if step and ema is not None:
            counter.load_state_dict(average)
            updates = 0
        warmup = round(schedule.warmup * length)
        for done in range(length):
            cosine = 0.5 * (1 + math.cos(math.pi * (done - warmup) / (length - warmup)))
            share = (done + 1) / (warmup + 1) if done < warmup else 0.1 + 0.9 * cosine
            for group in optimizer.param_groups:
                group["lr"] = optimizer_config.lr * share
            data = given.train.batch(step, rank=rank, world=world)
            pixels = np.stack([(array / 255 - MEAN) / STD for array in data["arrays"]])
            pixels = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
            pixels = pixels.contiguous()  # dropout draws in the order of the memory
            wanted = torch.tensor([float(len(points)) for points in data["points"]])
            torch.manual_seed(step_seed(3, 1, step, rank))
            loss = (counter.counts(pixels) - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            moved = [p for p in counter.parameters() if p.grad is not None]
            nn.utils.clip_grad_norm_(moved, optimizer_config.clip_norm)
            optimizer.step()
            losses.append(loss.item())
            step += 1
            state = copy.deepcopy(counter.state_dict())
            decay = 0.0 if ema is None else min(ema, (1 + updates) / (10 + updates))
            updates += 1
            average = {
                name: decay * average[name] + (1 - decay) * value
                if value.is_floating_point()
                else value
                for name, value in state.items()
            }
            weights.append(state)
            averages.append(average)
    return losses, weights, averages
