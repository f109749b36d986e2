"""Records as a run writes them, made without one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cellbench.hashes import config_hash, content_hash, run_id
from cellbench.metrics.scores import score
from cellbench.structures import CellSample, Prediction

SIZE = (150, 100)


def sample_images(
    count: int = 6, *, seed: int = 0, error: float = 2.0
) -> tuple[list[CellSample], list[Prediction]]:
    """Images with a few cells, and predictions that are off by a few."""
    rng = np.random.default_rng(seed)
    truth, predictions = [], []
    for index in range(count):
        cells = rng.uniform((0, 0), SIZE, (5 + 3 * index, 2)).astype(np.float32)
        truth.append(CellSample(f"img{index:03d}", cells, SIZE))
        kept = cells[: max(0, len(cells) - int(rng.integers(0, 3)))]
        extra = rng.uniform((0, 0), SIZE, (round(error * rng.random()), 2))
        points = np.concatenate([kept, extra]).astype(np.float32)
        scores = rng.uniform(0.5, 1, len(points)).astype(np.float32)
        predictions.append(Prediction(float(len(points)), points, scores))
    return truth, predictions


def sample_record(
    *,
    method: str = "dla",
    dataset: str = "adi",
    protocol: str = "v1",
    split: int = 0,
    seed: int = 0,
    recipe: int = 1,
    iterations: int = 100,
    config: dict[str, Any] | None = None,
    images: tuple[list[CellSample], list[Prediction]] | None = None,
    **changed: Any,
) -> dict[str, Any]:
    """A record before it is written: without schema, points and content hash."""
    truth, predictions = images or sample_images(seed=100 * split + seed)
    scores = score(truth, predictions, radius_px=4.0)
    config = config or {"method": {"name": method}, "recipe": recipe, "data": {"set": dataset}}
    record: dict[str, Any] = {
        "run_id": "",
        "method": method,
        "method_title": method.upper(),
        "config": config,
        "config_hash": config_hash(config),
        "recipe": recipe,
        "plugins": [{"role": "matcher", "name": "KHM", "distribution": "x", "version": "1"}],
        "dataset": dataset,
        "simulated": dataset.endswith("-sim"),
        "manifest_hash": "m" * 64,
        "protocol": protocol,
        "split": split,
        "seed": seed,
        "iterations": iterations,
        "epochs": 10,
        "weights": {"source": "file", "sha256": "e" * 64},
        "selection": {"rule": "least validation MAE", "step": 90, "validation_mae": 1.5},
        "thresholds": {"score": 0.5},
        "parameters": 15_000_000,
        "gflops": 31.4,
        "images": scores.images,
        "metrics": scores.metrics,
        "curve": [{"step": 50, "validation_mae": 2.0}, {"step": 90, "validation_mae": 1.95}],
        "timing": {"train_s": 300.0, "images_per_s": 4.0, "peak_memory_mb": 900.0},
        "environment": {"device": "cpu", "commit": None},
    }
    record |= changed
    if "run_id" not in changed:
        record["run_id"] = run_id(
            record["config"],
            recipe,
            record["manifest_hash"],
            record["weights"].get("sha256"),
            protocol,
            split,
            seed,
            iterations,
        )
    return record


def sample_points(
    images: tuple[list[CellSample], list[Prediction]],
) -> dict[str, tuple[Any, Any]]:
    """The predicted points by image id."""
    return {t.image_id: (p.points, p.scores) for t, p in zip(*images, strict=True)}


def spoil(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change a record's file as a forger would, with the hash that fits."""
    record = json.loads(path.read_text())
    edit(record)
    record["content_hash"] = content_hash(record)
    path.write_text(json.dumps(record))
