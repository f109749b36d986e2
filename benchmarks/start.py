"""Matched distances, moves and offsets in the first training steps of a point counter.

    python benchmarks/start.py                       # KHM, FPN, Deformable on ADI, seed 0
    python benchmarks/start.py --conv Standard --matcher Hungarian --seeds 0,1,2
    python benchmarks/start.py --offset-rate 0.1     # offsets at a tenth of the learning rate
    python benchmarks/start.py --bfloat16            # convolutions round as under autocast

Matching by moved points does not tie a cell to its nearest reference: all proposals may move by the
same vector, and a convolution with offsets may sample the map along that vector. On a GPU one of
twelve trainings on ADI (KHM, FPN, Deformable, seed 0) ended so, with a loss of 0.66 where the
others had 0.28. Columns, each a mean over the steps of a line: the two terms of the loss; the
distances in px of the network input from a matched cell to its proposal (`off`) and to the
proposal's reference (`reference`); the length of the mean move of matched proposals (`move`); and,
of the deformable convolutions, the length of the mean offset of all taps (`shift`), the mean length
of an offset (`taps`), both in map cells, and the share of taps outside the map (`outside`).

Needs the real set and the trunk's weights; only the training part of split 0 is read.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cellbench.data.seeds import step_seed
from cellbench.engine.assembly import make_training, prepare, start_counter
from cellbench.engine.optim import rate
from cellbench.engine.request import Request, resolve_run
from cellbench.engine.training import TrainingStep
from cellbench.engine.training_state import Training
from cellbench_plugins.convs.deformable import Deformable

Means = dict[str, list[float]]


def main() -> None:
    """Train the first steps of each seed and print a line every `--every` steps."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="adi")
    parser.add_argument("--matcher", default="KHM")
    parser.add_argument("--decoder", default="FPN")
    parser.add_argument("--conv", default="Deformable")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=20, help="steps a line")
    parser.add_argument("--offset-rate", type=float, help="share of the rate that offsets learn at")
    parser.add_argument("--bfloat16", action="store_true", help="round every convolution")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.bfloat16:
        nn.Conv2d._conv_forward = _rounded  # type: ignore[method-assign,assignment]
    for seed in map(int, given.seeds.split(",")):
        print(f"{given.matcher} / {given.decoder} / {given.conv}, seed {seed}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            follow(make(given, seed, Path(folder)), given)


def make(given: argparse.Namespace, seed: int, folder: Path) -> Training:
    """Prepare the training of a seed on split 0, with its full schedule."""
    parts = [
        f"model.matcher.type={given.matcher}",
        f"model.decoder.type={given.decoder}",
        f"model.decoder.conv.type={given.conv}",
    ]
    request = Request(
        "methods/dla",
        dataset=given.dataset,
        seed=seed,
        device=given.device,
        overrides=(*parts, *given.set),
        strict=True,
        no_test=True,
        store=str(folder),
    )
    prepared = prepare(resolve_run(request, print))
    return make_training(prepared, start_counter(prepared, print), folder)


def follow(training: Training, given: argparse.Namespace) -> None:
    """Train the first steps and print their means."""
    counter, config = training.counter.train(), training.config
    update = TrainingStep(
        counter, config.optimizer, device=training.device, precision=training.precision, eager=True
    )
    if given.offset_rate is not None:
        slow_down(update.optimizer, counter, given.offset_rate)
    means: Means = defaultdict(list)
    counter.criterion.register_forward_hook(  # type: ignore[union-attr,operator]
        lambda module, inputs, terms: note_matches(means, *inputs, terms)
    )
    for layer in counter.modules():
        if isinstance(layer, Deformable):
            layer.where.register_forward_hook(
                lambda module, inputs, where, taps=layer.taps: note_offsets(means, where, taps)
            )
    iterations = config.data.epochs * training.train.steps_per_epoch
    for step, data in enumerate(training.train.batches(0, given.steps)):
        update.set_rate(rate(step, iterations, config.schedule))
        update(data, seed=step_seed(training.seed, training.split, step, 0))
        if (step + 1) % given.every == 0:
            line = [f"{name} {statistics.fmean(values):.3f}" for name, values in means.items()]
            print(f"{step + 1:5}  {'  '.join(line)}", flush=True)
            means.clear()


@torch.no_grad()
def note_matches(
    means: Means, proposals: Any, pairs: Any, valid: Tensor, terms: dict[str, Tensor]
) -> None:
    """Store the loss terms, distances and moves of the matches of a step."""
    references = proposals.references.expand(len(valid), -1, -1)[pairs.image, pairs.row]
    points = proposals.points[pairs.image, pairs.row]
    for name, term in terms.items():
        means[name.removeprefix("loss_")].append(float(term))
    means["off"].append(float((points - pairs.cell).norm(dim=1).mean()))
    means["reference"].append(float((references - pairs.cell).norm(dim=1).mean()))
    means["move"].append(float((points - references).mean(0).norm()))


@torch.no_grad()
def note_offsets(means: Means, where: Tensor, taps: int) -> None:
    """Store the offset means of a deformable convolution, from its (B, 3 * taps, H, W) map."""
    batch, _, height, width = where.shape
    offset = where[:, : 2 * taps].float().view(batch, taps, 2, height, width)  # y, x
    side = round(taps**0.5)
    tap = torch.arange(side, device=where.device) - side // 2
    rows = torch.arange(height, device=where.device)[:, None] + offset[:, :, 0]
    columns = torch.arange(width, device=where.device) + offset[:, :, 1]
    rows = rows + tap.repeat_interleave(side)[:, None, None]
    columns = columns + tap.repeat(side)[:, None, None]
    outside = (rows <= -1) | (rows >= height) | (columns <= -1) | (columns >= width)
    means["shift"].append(float(offset.mean((0, 1, 3, 4)).norm()))
    means["taps"].append(float(offset.norm(dim=2).mean()))
    means["outside"].append(float(outside.float().mean()))


def slow_down(optimizer: torch.optim.Optimizer, counter: nn.Module, share: float) -> None:
    """Lower the learning rate of offsets and masks of deformable convolutions to a share of it."""
    layers = [layer for layer in counter.modules() if isinstance(layer, Deformable)]
    slow = {id(parameter) for layer in layers for parameter in layer.where.parameters()}
    for group in list(optimizer.param_groups):
        moved = [parameter for parameter in group["params"] if id(parameter) in slow]
        if moved:
            group["params"] = [p for p in group["params"] if id(p) not in slow]
            peak = group["peak_lr"] * share
            optimizer.add_param_group({**group, "params": moved, "lr": peak, "peak_lr": peak})


def _rounded(self: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute a convolution with inputs, weights and output rounded to bfloat16."""
    x, weight = x.bfloat16().float(), weight.bfloat16().float()
    bias = None if bias is None else bias.bfloat16().float()
    out = nn.functional.conv2d(
        x, weight, bias, self.stride, self.padding, self.dilation, self.groups
    )
    return out.bfloat16().float()


if __name__ == "__main__":
    main()
