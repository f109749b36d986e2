"""Records on `nuclei` with generated predictions, for pages that show its pictures."""

import numpy as np
from record_samples import sample_points, sample_record

from cellbench.data.splits import make_split
from cellbench.data.stored_set import open_set
from cellbench.records.record_file import write_record
from cellbench.structures import Prediction

# Name, share of cells missed, false cells, px of jitter, parameters, seconds.
METHODS = (
    ("MethodA", 0.04, 1.0, 1.0, 16_000_000, 900.0),
    ("MethodA[model.matcher.type=Hungarian]", 0.06, 1.5, 1.0, 16_000_000, 800.0),
    ("MethodB", 0.10, 2.0, 2.0, 1_400_000, 300.0),
    ("MethodC", 0.20, 5.0, 3.0, 130_000, 60.0),
    ("MethodD", 0.35, 8.0, 3.0, 0, 1.0),
)
HOSTILE = "</script><script>document.title='ran'</script><img src=x onerror=alert(1)>"


def write_nuclei_records(store, *, images=24):
    """Write a record of every method, one of a partial training, and one with a hostile title.

    Returns:
        The ids of the scored images.
    """
    stored = open_set("nuclei")
    ids = make_split(stored, protocol="v1", split=0).test[:images]
    truth = [stored.sample(image_id) for image_id in ids]
    rng = np.random.default_rng(0)
    for name, missed, false, jitter, parameters, seconds in METHODS:
        found = [_prediction(sample, missed, false, jitter, rng) for sample in truth]
        record = sample_record(
            method=name,
            method_title=f"Generated for the tests: {HOSTILE}" if name == "MethodD" else name,
            dataset="nuclei",
            images=(truth, found),
            manifest_hash=stored.manifest_hash,
            parameters=parameters,
            epochs=100,
            timing={"train_s": seconds, "images_per_s": 10.0},
            config=_config(name, epochs=100),
            curve=[
                {"step": step, "loss": 9.0 / step, "validation_mae": 3.0 + 40.0 / step}
                for step in range(10, 101, 10)
            ],
        )
        write_record(store, record, points=sample_points((truth, found)))
        if name == "MethodB":
            for epochs, seed in ((100, 1), (10, 2)):
                other = record | {
                    "config": _config(name, epochs=epochs),
                    "epochs": epochs,
                    "seed": seed,
                }
                again = [_prediction(sample, missed, false, jitter, rng) for sample in truth]
                wanted = {
                    key: value
                    for key, value in other.items()
                    if key not in ("run_id", "config_hash", "images", "metrics")
                }
                made = sample_record(**wanted, images=(truth, again))
                write_record(store, made, points=sample_points((truth, again)))
    return ids


def _config(name, *, epochs):
    matcher = "Hungarian" if "Hungarian" in name else "KHM"
    return {
        "method": {"name": name.partition("[")[0], "source": "Nobody, Generated numbers, 2026"},
        "recipe": 1,
        "model": {"type": "PointCounter", "matcher": {"type": matcher}},
        "data": {"set": "nuclei", "epochs": epochs},
        "of": name,
    }


def _prediction(sample, missed, false, jitter, rng):
    kept = sample.points[rng.random(len(sample.points)) >= missed]
    extra = rng.uniform((0, 0), sample.size, (rng.poisson(false), 2))
    moved = kept + rng.normal(0, jitter, kept.shape)
    points = np.concatenate([moved, extra]).clip((0, 0), sample.size).astype(np.float32)
    scores = rng.uniform(0.3, 1, len(points)).astype(np.float32)
    return Prediction(float(len(points)), points, scores)
