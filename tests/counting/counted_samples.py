"""Folders as `cellbench count` writes them, made without a method."""

import hashlib
import shutil
import time

import numpy as np
from PIL import Image

from cellbench.counting.count_rows import Counted
from cellbench.counting.count_tables import CountTables
from cellbench.data.stored_set import open_set
from cellbench.structures import Prediction


def write_counts(folder, pictures, *, um_per_px=0.5, points=True, reading=None):
    """Count pictures whose cells are given.

    Args:
        folder: of the tables.
        pictures: by path the (N, 2) points and (N,) scores.
        um_per_px: edge of a pixel.
        points: whether the method has places.
        reading: how the pictures were read, as `method.json` has it.
    """
    method = {"method": "Generated", "um_per_px": um_per_px, "reading": reading}
    hashes = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures}
    tables = CountTables(folder, method, hashes)
    for path, (xy, scores) in pictures.items():
        with Image.open(path) as picture:
            size = picture.size
        found = Prediction(
            float(len(xy)),
            np.asarray(xy, np.float32) if points else None,
            np.asarray(scores, np.float32) if points else None,
        )
        fields = {
            "image": str(path),
            "count": found.count,
            "per_mm2": None,
            "size": size,
            "points": len(xy) if points else None,
            "sha256": hashes[str(path)],
        }
        tables.add(Counted(**fields), found)
    return folder


def nuclei_counts(folder, *, images=3):
    """Counts of `nuclei` pictures: annotated places with scores, some missed, some false."""
    stored = open_set("nuclei")
    rng = np.random.default_rng(1)
    by_size = sorted(stored.manifest.entries, key=lambda entry: (-entry.count, entry.id))
    pictures = {}
    (folder / "pictures").mkdir(parents=True)
    for entry in by_size[:images]:
        path = folder / "pictures" / f"{entry.id}{entry.suffix}"
        shutil.copy(stored.folder / entry.image, path)
        truth = stored.sample(entry.id).points
        kept = truth[rng.random(len(truth)) > 0.1]
        extra = rng.uniform((0, 0), entry.size, (4, 2))
        scores = np.concatenate([rng.uniform(0.5, 1, len(kept)), rng.uniform(0.3, 0.5, 4)])
        pictures[path] = (np.concatenate([kept, extra]), scores)
    return write_counts(folder / "counts", pictures)


def wait_for(check, *, seconds=20.0):
    """Wait until a check gives something true, and return it."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found
