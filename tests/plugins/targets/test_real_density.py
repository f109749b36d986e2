"""Density targets on the real sets; collected where they are."""

import pytest
import torch

from cellbench.data.resolve import resolve_set
from cellbench_plugins.targets.gaussian import GaussianDensity

IMAGES = {"adi": 200, "mbm": 44, "vgg": 200}


@pytest.mark.parametrize("name", IMAGES)
def test_every_target_of_the_set_sums_to_its_dots_at_every_stride(name):
    stored = resolve_set(name, strict=True, say=lambda text: None)
    samples = [stored.sample(image_id) for image_id in stored.ids]
    assert len(samples) == IMAGES[name]
    fixed, adaptive = GaussianDensity(sigma=2.0), GaussianDensity(adaptive=0.3)
    for sample in samples:
        sizes, points = torch.tensor([sample.size]), torch.from_numpy(sample.points)
        for stride, target in ((1, fixed), (2, fixed), (4, fixed), (8, fixed), (8, adaptive)):
            grid = tuple(-(-side // stride) for side in reversed(sample.size))
            made = target.make([points], sizes, grid, stride=stride, scale=1.0)
            assert abs(float(made.double().sum()) - sample.count) < 1e-4
