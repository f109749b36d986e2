"""Batch-norm statistics for averaged weights: rules compared on validation images.

    python benchmarks/norms.py --config methods/unet --dataset vgg --steps 400 --out norms.jsonl
    python benchmarks/norms.py --config methods/mcnn --weights runs/vgg/<run>/best.safetensors
    python benchmarks/norms.py --summary norms.jsonl

A moving average of the weights needs its own statistics, since its activations differ from those of
the last weights. At each validation the same weights are scored with

    average   the average of the running statistics, as if they were weights
    last      the running statistics of the weights that are trained
    refit     the mean of the moments within each of `--batches` training batches, by the average
    pooled    the moments of all crops of these batches together
    raw       the weights that are trained, with their statistics: no average at all

and the validations do not change the training. With `--weights`, those of a finished run, nothing
is trained: its checkpoint is scored by `average`, `refit` and `pooled`. That is a hard test of the
other two, since the run selected this checkpoint by its error with the averaged statistics.

The test part is never read. Each validation writes a line of JSON: predicted and annotated counts
of the validation images. `--summary` prints the mean absolute errors of the best and of the last
validation, its bias, the mean change between validations, and the effect of the correction of
counts: the leave-one-out error of the last validation and, over all validations, the errors of one
half of the images as counted and as corrected by a fit to the other half.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellbench.data.seeds import step_seed
from cellbench.engine.assembly import Prepared, make_training, prepare, start_counter
from cellbench.engine.average import WeightAverage
from cellbench.engine.checkpoints import load_weights
from cellbench.engine.devices import autocast
from cellbench.engine.evaluation import infer
from cellbench.engine.optim import rate
from cellbench.engine.request import Request, resolve_run
from cellbench.engine.schedule import make_plan
from cellbench.engine.training import TrainingStep
from cellbench.engine.training_state import Training
from cellbench.metrics.calibration import choose_calibration
from cellbench.models.counter import CellCounter, ValidationSet

RULES = ("average", "last", "refit", "pooled", "raw")
Moments = list[tuple[Tensor, Tensor]]


def main() -> None:
    """Train and validate, or summarise earlier output."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="methods/unet")
    parser.add_argument("--dataset", default="vgg")
    parser.add_argument("--steps", type=int, help="of the schedule; the config's by default")
    parser.add_argument("--looks", type=int, default=4)
    parser.add_argument("--batches", type=int, default=32, help="that statistics are refitted on")
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--weights", type=Path, help="of a finished run of this config, set, split")
    parser.add_argument("--split", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("norms.jsonl"))
    parser.add_argument("--summary", type=Path, nargs="+")
    given = parser.parse_args()
    if given.summary:
        summarise([json.loads(line) for file in given.summary for line in file.open()])
        return
    torch.set_num_threads(given.threads)
    request = Request(
        given.config, dataset=given.dataset, split=given.split, no_test=True, strict=True
    )
    prepared = prepare(resolve_run(request, print))
    for seen in (train if given.weights is None else finished)(prepared, given):
        with given.out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(seen) + "\n")


def train(prepared: Prepared, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Train one stage as a run does, and yield the counts of each rule at every validation."""
    counter = start_counter(prepared, print)
    training = make_training(prepared, counter, Path("/nowhere"))
    training.workers = 0
    config = prepared.experiment.config
    steps = given.steps or config.data.epochs * training.train.steps_per_epoch
    plan = make_plan(steps, replace(config.schedule, validations=given.looks))
    update = TrainingStep(
        counter, config.optimizer, device=training.device, precision=training.precision
    )
    average = WeightAverage(counter, config.schedule.ema or 0.97)
    counter.train()
    for step, data in enumerate(training.train.batches(0, steps), start=1):
        update.set_rate(rate(step - 1, steps, config.schedule))
        update(data, seed=step_seed(training.seed, training.split, step - 1, 0))
        average.update()
        if step in plan.validate_after:
            facts = {"config": given.config, "set": given.dataset, "split": given.split}
            facts |= {"steps": steps, "step": step, "batches": given.batches}
            for rule in given.rules.split(","):
                yield facts | {"rule": rule} | look(training, average, rule, given.batches)


def finished(prepared: Prepared, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the counts of each rule that needs no training, with the weights of a finished run."""
    counter = start_counter(prepared, print)
    load_weights(counter, given.weights)
    training = make_training(prepared, counter, Path("/nowhere"))
    training.workers = 0
    counter.train()
    average = WeightAverage(counter, 0.0)  # the average of one state is that state
    steps = prepared.experiment.config.data.epochs * training.train.steps_per_epoch
    facts = {"config": given.config, "set": given.dataset, "split": given.split}
    facts |= {"steps": steps, "step": steps, "batches": given.batches}
    for rule in ("average", "refit", "pooled"):
        yield facts | {"rule": rule} | look(training, average, rule, given.batches)


def look(training: Training, average: WeightAverage, rule: str, batches: int) -> dict[str, Any]:
    """Count the validation images by one rule, without effect on the training."""
    counter = training.counter
    kept = {name: value.clone() for name, value in counter.state_dict().items()}
    norms = learning_norms(counter)
    live = [(mean.clone(), variance.clone()) for mean, variance in map(statistics, norms)]
    random = torch.get_rng_state()
    if rule != "raw":
        counter.load_state_dict(average.state, strict=False)
    if rule == "last":
        give(norms, live)
    if rule in ("refit", "pooled"):
        give(norms, moments(training, norms, batches, pooled=rule == "pooled"))
    assert training.validation is not None
    candidates, truth = infer(counter, training.validation, precision=training.precision)
    radius = training.config.data.radius_px
    thresholds = counter.calibrate(ValidationSet(candidates, truth, radius))
    counts = [counter.select(candidate).count for candidate in candidates]
    counter.load_state_dict(kept)
    torch.set_rng_state(random)
    wanted = [sample.count for sample in truth]
    error = np.subtract(counts, wanted)
    return {
        "mae": float(np.abs(error).mean()), "bias": float(error.mean()),
        "thresholds": thresholds, "counts": counts, "truth": wanted,
    }  # fmt: skip


def learning_norms(counter: CellCounter) -> list[nn.BatchNorm2d]:
    """List the batch norms whose statistics change in training; not those of a frozen trunk."""
    return [m for m in counter.modules() if isinstance(m, nn.BatchNorm2d) and m.training]


def statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the running mean and variance of a norm, not copies."""
    return norm.get_buffer("running_mean"), norm.get_buffer("running_var")


def give(norms: list[nn.BatchNorm2d], found: Moments) -> None:
    """Set running means and variances."""
    for norm, (mean, variance) in zip(norms, found, strict=True):
        for own, value in zip(statistics(norm), (mean, variance), strict=True):
            own.copy_(value)


@torch.no_grad()
def moments(
    training: Training, norms: list[nn.BatchNorm2d], batches: int, *, pooled: bool
) -> Moments:
    """Compute means and variances of the inputs of norms in training batches, dropout off."""
    counter = training.counter
    sums = [[torch.zeros_like(statistics(norm)[0]) for _ in range(3)] for norm in norms]
    with _watching(counter, norms):
        for step in range(batches):
            with autocast(training.device, training.precision):
                batch = counter.data_preprocessor(training.train.batch(step), True)["batch"]
                counter.loss(batch)
            for norm, (mean, variance, square) in zip(norms, sums, strict=True):
                own_mean, own_variance = statistics(norm)
                mean += own_mean / batches
                variance += own_variance / batches
                square += own_mean.square() / batches
    return [(m, v + (s - m.square() if pooled else 0)) for m, v, s in sums]


@contextmanager
def _watching(counter: CellCounter, norms: list[nn.BatchNorm2d]) -> Iterator[None]:
    """Let norms store the moments of each batch, with all else in evaluation mode."""
    counter.eval()
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
        counter.train()


def summarise(seen: list[dict[str, Any]]) -> None:
    """Print a line for each training and rule."""
    by_rule: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for line in seen:
        key = (line["config"], line["set"], line["split"], line["steps"], line["rule"])
        by_rule[key].append(line)
    print(f"{'training':34} {'rule':8} looks   best   last   bias  change  corrected  halves")
    for (config, name, split, steps, rule), looks in by_rule.items():
        looks.sort(key=lambda line: line["step"])
        errors = [line["mae"] for line in looks]
        change = float(np.abs(np.diff(errors)).mean()) if len(errors) > 1 else 0.0
        training = f"{config.removeprefix('methods/')} {name} {split}, {steps} steps"
        last, areas = looks[-1], np.ones(len(looks[-1]["truth"]))
        corrected = choose_calibration(last["truth"], last["counts"], areas).expected_mae
        others = np.mean([_halves(line) for line in looks], axis=0)
        print(
            f"{training:34} {rule:8} {len(looks):5} {min(errors):6.2f} {errors[-1]:6.2f} "
            f"{last['bias']:6.2f} {change:7.2f} {corrected:10.2f}  {others[0]:.2f} {others[1]:.2f}"
        )


def _halves(line: dict[str, Any], times: int = 50) -> tuple[float, float]:
    """Compute mean errors of halves of the images, raw and corrected by a fit to the other half."""
    truth, counts = np.array(line["truth"], dtype=float), np.array(line["counts"])
    areas, rng, errors = np.ones(truth.size), np.random.default_rng(0), []
    for _ in range(times):
        order = rng.permutation(truth.size)
        own, other = order[: truth.size // 2], order[truth.size // 2 :]
        chosen = choose_calibration(truth[own], counts[own], areas[own])
        both = counts[other], chosen.correct(counts[other], areas[other])
        errors += [float(np.abs(found - truth[other]).mean()) for found in both]
    return float(np.mean(errors[::2])), float(np.mean(errors[1::2]))


if __name__ == "__main__":
    main()
