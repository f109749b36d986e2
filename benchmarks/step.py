"""What a method adds to its backbone: a training step and whole-image inference, as ratios.

Both sides run in the same mode (precision, channels-last, threads, optimiser, gradient clipping)
and in turns, so that whatever else the machine does falls on both; ratios are of medians.

    python benchmarks/step.py                    # dla_adi against bare VGG16-bn
    python benchmarks/step.py --config methods/p2pnet --rounds 20
    python benchmarks/step.py --threads 1 --clock cpu      # on a machine that others use

The training step of the method has everything a run's step has but the loader: 16 crops of
64x64 px as dense as ADI, forward, matching, loss, backward, clipping and AdamW. The bare step is
torchvision's VGG16-bn trunk with the mean of its output for a loss. A method that freezes stages
saves their backward pass: it is measured against the whole trunk and against one with the same
stages frozen. Inference is one image of 600x600 px to points, against the bare trunk's forward
pass.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torchvision
from torch import nn

from cellbench.config import resolve
from cellbench.engine.devices import autocast, choose_device, choose_precision
from cellbench.models.build import build_counter
from cellbench.models.counter import Batch, CellCounter

CELLS_PER_PX = 155.1 / 150**2  # of ADI
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
LIMITS = {"training step": 1.25, "same, both frozen": 1.25, "inference": 1.3}


def main() -> None:
    """Measure and print both ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="dla_adi")
    parser.add_argument("--rounds", type=int, default=15, help="turns that each side gets")
    parser.add_argument("--crops", type=int, default=16)
    parser.add_argument("--crop", type=int, default=64, help="px")
    parser.add_argument("--image", type=int, default=600, help="px")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="of the CPU; torch's choice by default")
    parser.add_argument("--clock", default="wall", choices=list(CLOCKS), help="cpu: with 1 thread")
    parser.add_argument("--only", choices=["training", "inference"])
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    device = choose_device(given.device)
    precision = choose_precision(given.precision, device)
    torch.manual_seed(0)
    counter = build_counter(resolve(given.config, dataset="adi").model, load_weights=False)
    counter = counter.to(device=device, memory_format=torch.channels_last)
    bare = torchvision.models.vgg16_bn(weights=None).features
    bare = bare.to(device=device, memory_format=torch.channels_last)
    print(f"{given.config} on {device}, {precision}, channels-last, {given.rounds} rounds")
    rules = (given.rounds, device, CLOCKS[given.clock])
    with autocast(device, precision):
        if given.only != "inference":
            batch = make_batch(counter, given.crops, given.crop)
            compare("training step", *training(counter, bare, batch), *rules)
            if freeze_alike(bare, counter):
                compare("same, both frozen", *training(counter, bare, batch), *rules)
        if given.only != "training":
            image = make_batch(counter, 1, given.image)
            compare("inference", *inference(counter, bare, image), *rules)


def freeze_alike(bare: nn.Module, counter: CellCounter) -> bool:
    """Freeze in the bare trunk what the method freezes in its own; False if no filter is."""
    free = {
        name.partition("features.")[2]: parameter.requires_grad
        for name, parameter in counter.named_parameters()
        if name.startswith("backbone.features.")
    }
    for name, parameter in bare.named_parameters():
        parameter.requires_grad_(free.get(name, True))
    return not all(grad for name, grad in free.items() if name.endswith("weight"))


def make_batch(counter: CellCounter, number: int, side: int) -> Batch:
    """Noise with as many cells as ADI has on that area."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (side, side, 3), dtype=np.uint8) for _ in range(number)]
    cells = round(CELLS_PER_PX * side**2)
    points = [side * rng.random((cells, 2), dtype=np.float32) for _ in range(number)]
    names = [str(index) for index in range(number)]
    images = counter.data_preprocessor.images(arrays, scale=1.0, image_ids=names)
    return Batch(images, [torch.from_numpy(p).to(counter.device) for p in points])


def training(
    counter: CellCounter, bare: nn.Module, batch: Batch
) -> tuple[Callable[[], object], Callable[[], object]]:
    """One training step of each."""

    def stepper(module: nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
        parameters = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-5, foreach=True)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            value = loss()
            with torch.autocast(batch.images.pixels.device.type, enabled=False):
                value.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

        return step

    counter.train()
    bare.train()
    for layer in bare.modules():
        if isinstance(layer, nn.BatchNorm2d) and not layer.weight.requires_grad:
            layer.eval()
    ours = stepper(counter, lambda: torch.stack(list(counter.loss(batch).values())).sum())
    return ours, stepper(bare, lambda: bare(batch.images.pixels).float().mean())


def inference(
    counter: CellCounter, bare: nn.Module, batch: Batch
) -> tuple[Callable[[], object], Callable[[], object]]:
    """One whole image through each."""
    counter.eval()
    bare.eval()

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return bare(batch.images.pixels)

    return lambda: counter.predict(batch.images), forward


def compare(
    what: str,
    ours: Callable[[], object],
    bare: Callable[[], object],
    rounds: int,
    device: torch.device,
    clock: Callable[[], float],
) -> None:
    """Run both in turns and print medians and their ratio."""
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(rounds + 2):
        for name, run in (("ours", ours), ("bare", bare)):
            start = clock()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn >= 2:  # the first turns allocate and compile
                times[name].append(clock() - start)
    mine, theirs = (statistics.median(times[name]) for name in ("ours", "bare"))
    paired = statistics.median(a / b for a, b in zip(times["ours"], times["bare"], strict=True))
    verdict = "within" if mine / theirs <= LIMITS[what] else "OVER"
    print(
        f"{what:17} {mine:7.3f} s, bare {theirs:7.3f} s, ratio {mine / theirs:5.2f} "
        f"(turn by turn {paired:5.2f}), {verdict} {LIMITS[what]}",
        flush=True,
    )


if __name__ == "__main__":
    main()
