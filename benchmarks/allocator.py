"""Speed of a training step when the process keeps freed memory, as ratios.

    python benchmarks/allocator.py
    python benchmarks/allocator.py --methods countception,dla --rounds 3

Each measurement is a process of its own, with and without `keep_freed_memory` alternately. Ratios
are of median CPU times on one thread, so that other work on the machine matters little. The
resident memory is the largest of all measurements.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

STEPS = 5


def main() -> None:
    """Measure and print a line for each method."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", default="countception,fcrn,unet,csrnet,dla")
    parser.add_argument("--rounds", type=int, default=2, help="turns that each side gets")
    parser.add_argument("--crop", type=int, default=128, help="px")
    parser.add_argument("--turn", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.turn:
        method, kept = given.turn
        print(json.dumps(turn(method, kept == "kept", given.crop)))
        return
    for method in given.methods.split(","):
        seconds: dict[str, list[float]] = {"given back": [], "kept": []}
        memory = dict.fromkeys(seconds, 0)
        for _ in range(given.rounds):
            for side in seconds:
                command = [sys.executable, __file__, "--crop", str(given.crop)]
                output = subprocess.check_output([*command, "--turn", method, side])
                step, used = json.loads(output)
                seconds[side].append(step)
                memory[side] = max(memory[side], used)
        back, kept = (statistics.median(seconds[side]) for side in seconds)
        print(
            f"{method:14} {back:.3f} s a step given back ({memory['given back']} MiB), "
            f"{kept:.3f} s kept ({memory['kept']} MiB): {back / kept:.2f} times as fast",
            flush=True,
        )


def turn(method: str, kept: bool, crop: int) -> tuple[float, int]:
    """Measure the median CPU seconds of a step of two crops, and the peak memory in MiB."""
    import numpy as np
    import torch

    from cellbench.config.compose import resolve
    from cellbench.engine.devices import autocast, choose_precision, keep_freed_memory
    from cellbench.models.batch import Batch
    from cellbench.models.build import build_counter

    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = torch.device("cpu")
    if kept and not keep_freed_memory(device):
        raise SystemExit("This C library has no such setting: nothing to measure.")
    counter = build_counter(
        resolve(f"methods/{method}", dataset="vgg").model, load_weights=False
    ).train()
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, (crop, crop, 3), dtype=np.uint8) for _ in range(2)]
    images = counter.data_preprocessor.images(pixels, scale=1.0, image_ids=["0", "1"])
    batch = Batch(images, [torch.rand(crop**2 // 145, 2) * crop for _ in range(2)])
    precision = choose_precision("auto", device)
    seconds = []
    for _ in range(STEPS + 1):
        began = time.process_time()
        with autocast(device, precision):
            terms = counter.loss(batch)
        sum(term for name, term in terms.items() if name.startswith("loss")).backward()
        seconds.append(time.process_time() - began)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return statistics.median(seconds[1:]), used


if __name__ == "__main__":
    main()
