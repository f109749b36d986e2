"""Speed of the batch loader relative to a training step.

Prints, for the configs of four sets on noise of their images' sizes, the CPU time of a batch and
the rate of batches from one thread and from 1, 2 and 4 processes, compared with a step of 5 ms, as
on a GPU, and, unless it is left out, with a bare VGG16-bn step on this CPU:

    python benchmarks/loading.py [--no-step] [--sets adi,mbm] [--workers 0,1,2,4]

Run nothing else meanwhile; on a shared machine use the CPU time, which is the first number. The
bare step is forward and backward of 16 crops of 64x64, channels-last, float32: less than any method
here does.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cellbench.config.compose import resolve
from cellbench.data.training_set import TrainingSet
from cellbench.engine.assembly import make_transform
from cellbench.structures import CellSample

STEP_MS = 5.0
CROPS = 16
# Edge in px of the images, of which DCC's differ.
EDGES = {"adi": 150, "mbm": 600, "vgg": 256, "dcc": 550}
# Further transforms of some methods.
EXTRA = {"mbm": [{"type": "StainJitter"}]}


@dataclass
class Noise:
    """Twenty noise images with 150 cells each."""

    edge: int
    ids: list[str] = field(default_factory=lambda: [f"{index:02d}" for index in range(20)])

    def sample(self, image_id: str) -> CellSample:
        """Return cells at random places."""
        points = np.random.default_rng(int(image_id)).random((150, 2)) * self.edge
        return CellSample(image_id, points.astype(np.float32), (self.edge, self.edge))

    def pixels(self, image_id: str) -> np.ndarray:
        """Return noise, which takes as long to resize as any picture."""
        shape = (self.edge, self.edge, 3)
        return np.random.default_rng(int(image_id)).integers(0, 256, shape, dtype=np.uint8)


def training_set(name: str, more: list[dict]) -> TrainingSet:
    """Build the training set of a config, without the preparation of whole images, done once."""
    data = resolve("methods/dla", dataset=name).data
    noise = Noise(EDGES[name])
    return TrainingSet(
        noise,
        noise.ids,
        transforms=[make_transform(part, data.input_scale) for part in [*data.augment, *more]],
        seed=0,
        split=0,
        crops_per_image=data.crops_per_image,
        batch_size=data.batch_size,
        input_scale=data.input_scale,
    )


def processor_ms(train: TrainingSet, batches: int = 60) -> float:
    """Measure the median CPU time of a batch, once the images are decoded."""
    times = []
    for step in range(train.steps_per_epoch + batches):
        start = time.thread_time()
        train.batch(step)
        times.append(time.thread_time() - start)
    return 1e3 * float(np.median(times[-batches:]))


def stream_ms(train: TrainingSet, workers: int, *, warm_s: float, batches: int = 200) -> float:
    """Measure the milliseconds between batches that are taken as fast as they come."""
    stream = train.batches(0, 10**6, workers=workers)
    start = time.perf_counter()
    while time.perf_counter() - start < warm_s:  # processes start, images are decoded
        next(stream)
    start = time.perf_counter()
    for _ in range(batches):
        next(stream)
    spent = time.perf_counter() - start
    stream.close()
    return 1e3 * spent / batches


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Measure the median duration of an action, after one to warm up."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def step_seconds() -> float:
    """Measure the median duration of a bare VGG16-bn step."""
    import torch
    from torchvision.models import vgg16_bn

    trunk = vgg16_bn(weights=None).features.to(memory_format=torch.channels_last)
    pixels = torch.randn(CROPS, 3, 64, 64).to(memory_format=torch.channels_last)
    return seconds(lambda: trunk(pixels).mean().backward(), 5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--no-step", action="store_true", help="leave the training step out")
    parser.add_argument("--sets", default=",".join(EDGES))
    parser.add_argument("--workers", default="0,1,2,4", help="0 is one thread")
    parser.add_argument("--warm", type=float, default=5.0, help="seconds before the clock starts")
    given = parser.parse_args()
    step = None if given.no_step else step_seconds()
    if step is not None:
        print(f"bare VGG16-bn step, {CROPS} crops of 64x64: {step:.3f} s")
    for name in given.sets.split(","):
        for more in ([], *([EXTRA[name]] if name in EXTRA else [])):
            train = training_set(name, more)
            cost = processor_ms(train)
            title = " + ".join([name, *(part["type"] for part in more)])
            line = f"{title}: {train.batch_size} crops take {cost:.1f} ms of the processor"
            print(line if step is None else f"{line}, {cost / 1e3 / step:.1%} of the step")
            for workers in map(int, given.workers.split(",")):
                found = stream_ms(train, workers, warm_s=given.warm)
                source = f"{workers} processes" if workers else "one thread"
                met = "keeps up with" if found <= STEP_MS else "slower than"
                print(
                    f"  {source}: {found:.1f} ms a batch, {met} {STEP_MS:g} ms a step", flush=True
                )


if __name__ == "__main__":
    main()
