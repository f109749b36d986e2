"""Is the loader ever what training waits for?

Prints, for images of the sizes of ADI, VGG and MBM, what one augmented crop costs and how many
times faster than a training step its batch is ready:

    python benchmarks/loading.py [--no-step]

The step is a bare VGG16-bn, forward and backward, 16 crops of 64x64, channels-last, float32: less
than any method in the suite does.
"""

import argparse
import time
from dataclasses import dataclass, field

import numpy as np

from cellbench.data.training_set import TrainingSet
from cellbench.registry import TRANSFORMS
from cellbench.structures import CellSample

BATCH = 16
# Name, edge of the image, window, jitter and input scale as in configs/datasets.
SETS = [
    ("adi", 150, 64, (0.8, 1.25), 1.0),
    ("vgg", 256, 64, (0.9, 1.1), 1.0),
    ("mbm", 600, 96, (0.8, 1.25), 0.5),
]


@dataclass
class Noise:
    """Twenty noise images with 150 cells each."""

    edge: int
    ids: list[str] = field(default_factory=lambda: [f"{index:02d}" for index in range(20)])

    def sample(self, image_id: str) -> CellSample:
        """Cells anywhere."""
        points = np.random.default_rng(int(image_id)).random((150, 2)) * self.edge
        return CellSample(image_id, points.astype(np.float32), (self.edge, self.edge))

    def pixels(self, image_id: str) -> np.ndarray:
        """Noise, as hard to resize as any picture."""
        shape = (self.edge, self.edge, 3)
        return np.random.default_rng(int(image_id)).integers(0, 256, shape, dtype=np.uint8)


def training_set(edge: int, window: int, jitter: tuple[float, float], scale: float) -> TrainingSet:
    """The pipeline of the shipped data-set configs."""
    noise = Noise(edge)
    parts = [
        {"type": "RandomCrop", "size": window, "jitter": jitter, "input_scale": scale},
        {"type": "RandomFlip"},
        {"type": "QuarterTurn"},
        {"type": "ColourJitter"},
    ]
    return TrainingSet(
        noise,
        noise.ids,
        transforms=[TRANSFORMS.build(part) for part in parts],
        seed=0,
        split=0,
        crops_per_image=4,
        batch_size=BATCH,
        input_scale=scale,
    )


def seconds(action, repeats: int) -> float:
    """The median duration of an action, after one to warm up."""
    action(0)
    times = []
    for repeat in range(repeats):
        start = time.perf_counter()
        action(repeat)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def step_seconds() -> float:
    """The median duration of a bare VGG16-bn step."""
    import torch
    from torchvision.models import vgg16_bn

    trunk = vgg16_bn(weights=None).features.to(memory_format=torch.channels_last)
    pixels = torch.randn(BATCH, 3, 64, 64).to(memory_format=torch.channels_last)
    return seconds(lambda _: trunk(pixels).mean().backward(), 5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--no-step", action="store_true", help="leave the training step out")
    step = None if parser.parse_args().no_step else step_seconds()
    if step is not None:
        print(f"bare VGG16-bn step, {BATCH} crops of 64x64: {step:.3f} s")
    for name, edge, window, jitter, scale in SETS:
        train = training_set(edge, window, jitter, scale)
        for warm in range(train.steps_per_epoch):  # decoding is paid once
            train.batch(warm)
        batch = seconds(train.batch, 60)
        crop = batch / BATCH
        line = f"{name}: {crop * 1e3:.2f} ms a crop of {window} px, {1 / crop:.0f} crops/s"
        print(line if step is None else f"{line}, {batch / step:.1%} of the step")


if __name__ == "__main__":
    main()
