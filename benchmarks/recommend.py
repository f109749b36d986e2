"""Error of methods that `cellbench recommend` proposes, on held-out fields of nuclei.

    python benchmarks/recommend.py --draws 5 --budget 150
    python benchmarks/recommend.py --draws 5 --from test

Each draw imports `--pictures` pictures of the training fields of `nuclei`, split 0, as a set,
recommends a method for them, and counts pictures of the test fields with it. Printed is a line of
JSON a draw: the recommended method, its error there in percent of the mean count, the stated
interval of the error, and whether it holds the error found. The models that come with cellbench
were trained on the training fields, so that they are not proposed; with `--from test` the annotated
pictures are of one half of the test fields, and the counted ones of the other half.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import cellbench
from cellbench.data.points import format_points
from cellbench.data.splits import make_split
from cellbench.data.stored_set import StoredSet, open_set


def main() -> None:
    """Run all draws and print their results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--budget", type=float, default=900.0, help="seconds a draw")
    parser.add_argument("--from", dest="source", choices=("train", "test"), default="train")
    asked = parser.parse_args()
    stored = open_set("nuclei")
    parts = make_split(stored)
    annotated, counted = parts.train, parts.test
    if asked.source == "test":
        fields = sorted({stored.group(i) or i for i in parts.test})
        first = set(fields[::2])
        annotated = [i for i in parts.test if (stored.group(i) or i) in first]
        counted = [i for i in parts.test if (stored.group(i) or i) not in first]
    lines = []
    for draw in range(asked.draws):
        with tempfile.TemporaryDirectory(prefix="cellbench-draws-") as folder:
            ids = np.random.default_rng(draw).permutation(sorted(annotated))[: asked.pictures]
            lines.append(one_draw(Path(folder), stored, ids.tolist(), counted, asked.budget))
        print(json.dumps({"draw": draw, **lines[-1]}), flush=True)
    held = sum(line["holds"] for line in lines)
    worst = max(line["percent"] for line in lines)
    print(f"{held} of {len(lines)} intervals hold the truth; the largest error is {worst:.1f} %")


def one_draw(
    folder: Path, stored: StoredSet, ids: list[str], counted: list[str], budget: float
) -> dict[str, object]:
    """Recommend a method for some pictures, and count others with it."""
    os.environ["CELLBENCH_HOME"] = str(folder / "home")
    write(folder / "annotated", stored, ids, points=True)
    write(folder / "photos", stored, counted, points=False)
    cellbench.import_own("mine", folder / "annotated", group=r"^(.+?)--")
    started = time.monotonic()
    found = cellbench.recommend("mine", budget=budget, store=str(folder))
    seconds = time.monotonic() - started
    counts = cellbench.count(
        folder / "photos", found.folder, out=folder / "counts", no_pictures=True
    ).counts
    named = [Path(name).stem.partition("--")[2] for name in counts["image"]]
    truth = np.array([stored.entry(image_id).count for image_id in named])
    off = np.abs(counts["count"].to_numpy() - truth)
    chosen = next(one for one in found.results if one.state == "recommended")
    low, high = chosen.error.low, chosen.error.high
    inside = (counts["low90"] <= truth) & (truth <= counts["high90"])
    return {
        "method": found.method,
        "percent": round(100 * off.mean() / truth.mean(), 1),
        "mae": round(float(off.mean()), 2),
        "stated": [round(chosen.error.mae, 2), round(low, 2), round(high, 2)],
        "holds": bool(low <= off.mean() <= high),
        "intervals90": round(float(inside.mean()), 3),
        "seconds": round(seconds, 1),
        "all": {
            one.name: one.error and round(one.error.mae, 2) for one in found.results
        },
    }  # fmt: skip


def write(folder: Path, stored: StoredSet, ids: list[str], *, points: bool) -> None:
    """Write pictures as PNG, named after field and image, on request with their points as text."""
    folder.mkdir(parents=True)
    for image_id in ids:
        name = f"{stored.group(image_id) or image_id}--{image_id}"
        Image.fromarray(stored.pixels(image_id)).save(folder / f"{name}.png")
        if points:
            (folder / f"{name}.txt").write_bytes(format_points(stored.sample(image_id).points))


if __name__ == "__main__":
    main()
