"""Duration of a training step and of inference relative to the bare backbone.

    python benchmarks/step.py                    # dla_adi against the bare VGG16-bn
    python benchmarks/step.py --config methods/p2pnet --rounds 20
    python benchmarks/step.py --threads 1 --clock cpu      # on a shared machine

A step is that of the training loop: copy and normalisation, forward, matching, loss, backward,
clipping, optimiser, moving average, check of the loss; 16 crops of 64x64 px as dense as ADI. The
bare step is torchvision's VGG16-bn trunk, eager and unfused, with the mean of its output for a
loss, clipping and AdamW. A method that freezes stages saves their backward pass: it is compared
with the whole trunk and with one with the same stages frozen. Inference is one image of 600x600 px
to points, as in runs, compared with the bare trunk's forward pass.

Both sides run in the same mode (precision, channels-last, threads) and alternately, so that other
load affects both; ratios are of medians. Also printed are the number of operators that a step
dispatches from Python outside of the network, which a GPU replays in one call, and on a GPU its
busy time.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from cellbench.config.compose import resolve
from cellbench.config.schema import ResolvedConfig
from cellbench.engine.average import WeightAverage
from cellbench.engine.capture import EagerHalves
from cellbench.engine.devices import autocast, choose_device, choose_precision
from cellbench.engine.loss_watch import LossWatch
from cellbench.engine.training import TrainingStep
from cellbench.engine.training_state import TrainingState
from cellbench.models.build import build_counter
from cellbench.models.counter import CellCounter
from cellbench.models.folding import fold_batch_norms

CELLS_PER_PX = 155.1 / 150**2  # of ADI
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Data = dict[str, Any]


def main() -> None:
    """Measure and print."""
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
    parser.add_argument("--eager", action="store_true", help="capture nothing on a GPU")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    device = choose_device(given.device)
    precision = choose_precision(given.precision, device)
    torch.manual_seed(0)
    config = resolve(given.config, dataset="adi")
    counter = build_counter(config.model, load_weights=False)
    counter = counter.to(device=device, memory_format=torch.channels_last)
    bare = torchvision.models.vgg16_bn(weights=None).features
    bare = bare.to(device=device, memory_format=torch.channels_last)
    print(
        f"{given.config} on {device}, {precision}, channels-last, {torch.get_num_threads()} "
        f"threads, {given.rounds} rounds"
    )
    rules = (given.rounds, device, CLOCKS[given.clock])
    if given.only != "inference":
        data = make_data(given.crops, given.crop)
        step, update = training_step(counter, config, device, precision, eager=given.eager)
        bare_step = bare_training_step(counter, bare, data, device, precision)
        compare("training step", lambda: step(data), bare_step, *rules)
        if freeze_alike(bare, counter):
            bare_step = bare_training_step(counter, bare, data, device, precision)
            compare("same, both frozen", lambda: step(data), bare_step, *rules)
        print(f"operators dispatched outside the network: {count_operators(step, update, data)}")
        if device.type == "cuda":
            print(f"GPU busy {busy_ms(lambda: step(data), device):.2f} ms a step")
    if given.only != "training":
        data = make_data(1, given.image)
        del data["points"]
        sides = inference(counter, bare, data, device, precision)
        compare("inference", *sides, *rules)
        if device.type == "cuda":
            print(f"GPU busy {busy_ms(sides[0], device):.2f} ms an image")


def make_data(number: int, side: int) -> Data:
    """Return noise with as many cells as ADI has on that area, in the loader's format."""
    rng = np.random.default_rng(0)
    cells = round(CELLS_PER_PX * side**2)
    return {
        "arrays": [rng.integers(0, 255, (side, side, 3), dtype=np.uint8) for _ in range(number)],
        "points": [side * rng.random((cells, 2), dtype=np.float32) for _ in range(number)],
        "scale": 1.0,
        "image_ids": [str(index) for index in range(number)],
    }


def training_step(
    counter: CellCounter,
    config: ResolvedConfig,
    device: torch.device,
    precision: str,
    *,
    eager: bool,
) -> tuple[Callable[[Data], None], TrainingStep]:
    """Build the step of the training loop; return it with its `TrainingStep`."""
    update = TrainingStep(
        counter, config.optimizer, device=device, precision=precision, eager=eager, log=print
    )
    update.set_rate(1e-3)
    average = WeightAverage(counter, 0.99)
    losses = LossWatch(TrainingState())

    def step(data: Data) -> None:
        counter.train()
        loss = update(data, seed=0)
        average.update()
        losses.add(1, loss)

    return step, update


def bare_training_step(
    counter: CellCounter, bare: nn.Module, data: Data, device: torch.device, precision: str
) -> Callable[[], None]:
    """Build a training step of the bare trunk, on pixels that are on the device already."""
    pixels = counter.data_preprocessor(dict(data))["batch"].images.pixels
    parameters = [p for p in bare.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, foreach=True)

    def step() -> None:
        bare.train()
        for layer in bare.modules():
            if isinstance(layer, nn.BatchNorm2d) and not layer.weight.requires_grad:
                layer.eval()
        with autocast(device, precision):
            loss = bare(pixels).float().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def freeze_alike(bare: nn.Module, counter: CellCounter) -> bool:
    """Freeze in the bare trunk what the method freezes; return False if that is no filter."""
    free = {
        name.partition("features.")[2]: parameter.requires_grad
        for name, parameter in counter.named_parameters()
        if name.startswith("backbone.features.")
    }
    for name, parameter in bare.named_parameters():
        parameter.requires_grad_(free.get(name, True))
    return not all(grad for name, grad in free.items() if name.endswith("weight"))


class Operators(TorchDispatchMode):
    """Counter of dispatched operators, except while `off` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.off = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operator and run it."""
        self.number += not self.off
        return func(*args, **(kwargs or {}))


def count_operators(step: Callable[[Data], None], update: TrainingStep, data: Data) -> int:
    """Count the operators of a step that are dispatched one by one if the network is replayed."""
    counting = Operators()
    replayed = update.captured is not None
    if not replayed and update.counter.captures:
        halves = EagerHalves(update.counter, precision=update.precision)
        update.captured = halves

        def silently(half: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                counting.off = True
                try:
                    return half(*arguments)
                finally:
                    counting.off = False

            return call

        halves.forward = silently(halves.forward)  # type: ignore[method-assign]
        halves.backward = silently(halves.backward)  # type: ignore[method-assign]
    with counting:
        step(data)
    if not replayed:
        update.captured = None
    return counting.number


def busy_ms(call: Callable[[], object], device: torch.device, calls: int = 5) -> float:
    """Measure the milliseconds of a call in which the GPU computes."""
    call()
    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        for _ in range(calls):
            call()
        torch.cuda.synchronize(device)
    kernels = [
        event
        for event in seen.events()
        # without the span that PyTorch annotates over all kernels of an optimiser
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    ]
    return sum(event.time_range.elapsed_us() for event in kernels) / 1e3 / calls


def inference(
    counter: CellCounter, bare: nn.Module, data: Data, device: torch.device, precision: str
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Build inference of one whole image with the method, and with the bare trunk."""
    folded = fold_batch_norms(counter.eval())  # as in runs
    bare.eval()
    pixels = counter.data_preprocessor(dict(data))["images"].pixels

    def ours() -> object:
        with torch.no_grad(), autocast(device, precision):
            return folded.predict(folded.data_preprocessor(dict(data))["images"])

    def forward() -> object:
        with torch.no_grad(), autocast(device, precision):
            return bare(pixels)

    return ours, forward


def compare(
    what: str,
    ours: Callable[[], object],
    bare: Callable[[], object],
    rounds: int,
    device: torch.device,
    clock: Callable[[], float],
) -> None:
    """Run both alternately and print medians and their ratio."""
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(rounds + 3):
        for name, run in (("ours", ours), ("bare", bare)):
            start = clock()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn >= 3:  # the first turns allocate, choose algorithms and capture
                times[name].append(clock() - start)
    mine, theirs = (statistics.median(times[name]) for name in ("ours", "bare"))
    paired = statistics.median(a / b for a, b in zip(times["ours"], times["bare"], strict=True))
    print(
        f"{what:17} {1e3 * mine:8.2f} ms, bare {1e3 * theirs:8.2f} ms, ratio {mine / theirs:5.2f} "
        f"(turn by turn {paired:5.2f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
