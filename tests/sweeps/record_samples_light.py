"""A record of two images, written as a run writes it, for sweeps that train nothing."""

import json
from pathlib import Path

from cellbench.data.stored_set import open_set
from cellbench.hashes import config_hash, run_id
from cellbench.records.record_file import write_record


def light_record(
    config: dict,
    *,
    dataset: str,
    store: Path,
    protocol: str = "smoke",
    split: int = 0,
    seed: int = 0,
    iterations: int = 10,
    weights: dict | None = None,
    manifest_hash: str | None = None,
    **changed: object,
) -> Path:
    """Write the record of a config, given as its plain dict or as the values of its file."""
    config = json.loads(json.dumps(config))
    manifest = manifest_hash or open_set(dataset).manifest_hash
    weights = weights or {"source": "none", "sha256": None}
    facts = {
        "recipe": config["recipe"], "manifest_hash": manifest, "protocol": protocol,
        "split": split, "seed": seed, "iterations": iterations,
    }  # fmt: skip
    record = {
        **facts,
        "run_id": run_id(config, weights_hash=weights["sha256"], **facts),
        "method": config["method"]["name"],
        "method_title": config["method"]["title"],
        "config": config,
        "config_hash": config_hash(config),
        "plugins": [],
        "dataset": dataset,
        "simulated": dataset.endswith("-sim"),
        "epochs": 2,
        "weights": weights,
        "selection": {"rule": "val", "step": 8, "validation_mae": 1.5},
        "thresholds": {},
        "parameters": 1000,
        "gflops": None,
        "images": [
            {"id": f"{i:04d}", "truth": 10, "prediction": 10.0 + i, "tp": 9, "fp": i, "fn": 1}
            for i in range(2)
        ],
        "metrics": {"mae": 0.5, "rmse": 0.7, "f1": None},
        "curve": [{"step": 8, "loss": 0.5, "validation_mae": 1.5}],
        "timing": {"train_s": 4.0, "images_per_s": 10.0, "test_s": 0.2},
        "environment": {"device": "cpu", "commit": None},
    }
    return write_record(store, {**record, **changed})
