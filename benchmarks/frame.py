"""Padding at the image border for density methods, compared on validation images.

    python benchmarks/frame.py --config methods/fcrn --dataset vgg --weights RUN/best.safetensors

A convolution pads its map with zeros, which are neither cells nor background, so that a network has
learned the border from its training crops. The weights of a finished run count its validation
images with two paddings (the test part is never read):

    zeros      as in runs: the zero padding of convolutions
    mirrored   with `--margin` px of the image mirrored around it, summed over the image alone

Printed are the mean absolute error of the raw counts, their bias in percent, that of a strip of
`--margin` px along the border, and the leave-one-out error after the correction of counts.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellbench.data.whole_images import WholeImages
from cellbench.engine.assembly import prepare, start_counter, whole_images
from cellbench.engine.checkpoints import load_weights
from cellbench.engine.devices import autocast
from cellbench.engine.request import Request, resolve_run
from cellbench.metrics.calibration import choose_calibration
from cellbench.models.density_counter import DensityCounter
from cellbench.structures import CellSample

FRAMES = ("zeros", "mirrored")


def main() -> None:
    """Count the validation images with each padding and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="methods/fcrn")
    parser.add_argument("--dataset", default="vgg")
    parser.add_argument("--split", type=int, default=0)
    parser.add_argument("--weights", type=Path, required=True, help="of a finished run of these")
    parser.add_argument("--margin", type=int, default=64, help="px of the network's input")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    request = Request(
        given.config, dataset=given.dataset, split=given.split, no_test=True, strict=True
    )
    prepared = prepare(resolve_run(request, print))
    counter = start_counter(prepared, print)
    if not isinstance(counter, DensityCounter):
        parser.error(f"{given.config} sums no map; name a method of density maps.")
    load_weights(counter, given.weights)
    counter.eval()
    images = whole_images(prepared, prepared.split.val)
    print(f"{given.config} {given.dataset} {given.split}, {len(images)} validation images")
    for frame in FRAMES:
        margin = given.margin if frame == "mirrored" else 0
        maps, samples, cell_px = maps_of(counter, images, margin, prepared.precision)
        report(frame, maps, samples, given.margin / cell_px)


@torch.inference_mode()
def maps_of(
    counter: DensityCounter, images: WholeImages, margin: int, precision: str
) -> tuple[list[NDArray[np.float64]], list[CellSample], float]:
    """Return density maps cropped to the images, their annotations, and px of a map cell."""
    maps: list[NDArray[np.float64]] = []
    samples: list[CellSample] = []
    stride = counter.readout.stride
    if margin % stride:
        raise SystemExit(f"--margin: the map has cells of {stride} px, which must divide it.")
    for data, own in images:
        framed = [np.pad(a, [(margin, margin)] * 2 + [(0, 0)], "reflect") for a in data["arrays"]]
        batch = counter.data_preprocessor({**data, "arrays": framed})["images"]
        with autocast(counter.device, precision):
            density = counter.estimate(batch).density[:, 0].double().cpu().numpy()
        start = margin // stride
        for array, whole in zip(data["arrays"], density, strict=True):
            rows, columns = (-(-edge // stride) for edge in array.shape[:2])
            maps.append(whole[start : start + rows, start : start + columns])
        samples += own
    return maps, samples, stride / images.input_scale


def report(
    frame: str, maps: list[NDArray[np.float64]], samples: list[CellSample], strip: float
) -> None:
    """Print the errors with one padding."""
    truth = np.array([sample.count for sample in samples], dtype=np.float64)
    counts = np.array([max(one.sum(), 0.0) for one in maps])
    areas = np.array([sample.size[0] * sample.size[1] for sample in samples], dtype=np.float64)
    chosen = choose_calibration(truth, counts, areas)
    border: dict[str, float] = {"map": 0.0, "dots": 0.0}
    for one, sample in zip(maps, samples, strict=True):
        width = min(round(strip), min(one.shape) // 2)
        border["map"] += one.sum() - one[width:-width, width:-width].sum()
        ratio = sample.size[0] / one.shape[1]
        low, high = width * ratio, np.array(sample.size) - width * ratio
        points: Any = sample.points
        border["dots"] += len(points) - int(((points >= low) & (points < high)).all(axis=1).sum())
    off = counts - truth
    edge = 100 * (border["map"] / border["dots"] - 1)
    print(
        f"{frame:9} MAE {np.abs(off).mean():6.2f}, bias {100 * off.sum() / truth.sum():+5.1f} %, "
        f"along the border {edge:+5.1f} %, corrected {chosen.expected_mae:6.2f} ({chosen.kind})"
    )


if __name__ == "__main__":
    main()
