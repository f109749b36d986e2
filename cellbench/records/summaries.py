"""Summaries of records for tables and statistics, and their encoding in the cache."""

import hashlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellbench.hashes import config_hash, is_intact, run_id_of

if TYPE_CHECKING:
    from cellbench.records.model import Record


@dataclass(frozen=True, slots=True)
class Run:
    """Summary of a record, without its config, curve and points.

    Attributes:
        file: name of the record within the folder of its set.
        run_id: id of the run.
        method: name with the keys that `--set` changed.
        method_title: name for display.
        config_hash: hash of the resolved config.
        recipe: recipe of the method when it ran.
        dataset: name of the set.
        simulated: whether the set is a simulator's.
        manifest_hash: revision of the set.
        protocol: name.
        split: number.
        seed: number.
        iterations: training steps.
        epochs: training length in passes over the training images.
        weights_source: source of the pretrained weights.
        weights_sha256: hash of their file; None without.
        weights_missed: whether a file was wanted and random filters took its place.
        parameters: number of parameters.
        gflops: GFLOPs per image; None where unknown.
        metrics: the numbers of `metrics` (no lists).
        train_s: seconds of training; None where unknown.
        images_per_s: speed at inference; None where unknown.
        image_ids: ids of the scored images.
        truth: (N,) annotated counts, in that order.
        prediction: (N,) predicted counts.
        selection: data that the weights were selected on: "val", "last", "train crops".
        budget_s: seconds that the number of steps was fitted to; None without a budget.
        schedule_epochs: epochs of its whole schedule: those of its config, without a change by the
            command line; None if unknown.
        training: hash of the losses of the training curve; empty without losses. Two trainings
            from different seeds never share it.
        late_gain: relative fall of the validation error in the last quarter of the steps, from the
            best validation before it to the best of all; None without validations in both.
        views: number of orientations in which each image is counted.
        groups: group by image id, in a user's own sets that have groups.
        raw: (N,) counts before calibration; None if they are not calibrated.
        edited: what was changed after it was written, as the end of a sentence; empty if nothing.
        folder: folder of the record; None if unknown.
        stamp: times and size of its file when it was read; empty if unknown.
    """

    file: str
    run_id: str
    method: str
    method_title: str
    config_hash: str
    recipe: int
    dataset: str
    simulated: bool
    manifest_hash: str
    protocol: str
    split: int
    seed: int
    iterations: int
    epochs: float
    weights_source: str
    weights_sha256: str | None
    weights_missed: bool
    parameters: int
    gflops: float | None
    metrics: dict[str, float | None]
    train_s: float | None
    images_per_s: float | None
    image_ids: tuple[str, ...]
    truth: NDArray[np.float64] = field(compare=False)
    prediction: NDArray[np.float64] = field(compare=False)
    selection: str = ""
    budget_s: float | None = None
    schedule_epochs: float | None = None
    training: str = ""
    late_gain: float | None = None
    views: int = 1
    groups: dict[str, str] = field(default_factory=dict)
    raw: NDArray[np.float64] | None = field(default=None, compare=False)
    edited: str = ""
    folder: Path | None = field(default=None, compare=False)
    stamp: str = field(default="", compare=False)

    @property
    def by_steps(self) -> bool:
        """Whether the run was trained by gradient steps; a fit without them has no losses."""
        return bool(self.training)

    @property
    def path(self) -> Path | None:
        """File of the record; None if its folder is unknown."""
        return None if self.folder is None else self.folder / self.file


def summarise(record: "Record", path: Path) -> Run:
    """Build the summary of a record.

    Args:
        record: the record.
        path: its file.
    """
    schedule = record.config.get("schedule")
    budget = schedule.get("budget_s") if isinstance(schedule, dict) else None
    data = record.config.get("data")
    epochs = record.whole_epochs or (data.get("epochs") if isinstance(data, dict) else None)
    losses = [row.loss for row in record.curve if row.loss is not None]
    training = hashlib.sha256(repr(losses).encode()).hexdigest()[:16] if losses else ""
    metrics = record.raw["metrics"]
    model = record.config.get("model")
    views = model.get("views") if isinstance(model, dict) else None
    raw = [image.raw for image in record.images if image.raw is not None]
    return Run(
        file=path.name,
        run_id=record.run_id,
        method=record.method,
        method_title=record.method_title,
        config_hash=record.config_hash,
        recipe=record.recipe,
        dataset=record.dataset,
        simulated=record.simulated,
        manifest_hash=record.manifest_hash,
        protocol=record.protocol,
        split=record.split,
        seed=record.seed,
        iterations=record.iterations,
        epochs=record.epochs,
        weights_source=record.weights.source,
        weights_sha256=record.weights.sha256,
        weights_missed=record.weights.wanted is not None,
        parameters=record.parameters,
        gflops=record.gflops,
        metrics={k: v for k, v in metrics.items() if not isinstance(v, list | dict)},
        train_s=record.timing.train_s,
        images_per_s=record.timing.images_per_s,
        image_ids=tuple(image.id for image in record.images),
        truth=np.array([image.truth for image in record.images]),
        prediction=np.array([image.prediction for image in record.images]),
        selection=record.selection.rule,
        budget_s=budget if type(budget) in (int, float) else None,
        schedule_epochs=epochs if isinstance(epochs, int | float) and epochs > 0 else None,
        training=training,
        late_gain=_late_gain(record),
        views=views if type(views) is int else 1,
        groups=record.groups or {},
        raw=np.array(raw) if raw and len(raw) == len(record.images) else None,
        edited=_edited(record),
        folder=path.parent,
    )


def _late_gain(record: "Record") -> float | None:
    validations = [
        (point.step, point.validation_mae)
        for point in record.curve
        if point.step is not None and point.validation_mae is not None
    ]
    before = [mae for step, mae in validations if step <= 0.75 * record.iterations]
    if len(validations) == len(before) or not before or not min(before):
        return None
    return 1 - min(mae for _, mae in validations) / min(before)


def _edited(record: "Record") -> str:
    """Describe how a record was edited after it was written; empty if it was not."""
    if not is_intact(record.raw):
        return "was edited after it was written (its content hash does not fit)"
    if config_hash(record.config) != record.config_hash:
        return "was edited after it was written (its config hash does not fit)"
    if run_id_of(record.raw) != record.run_id:
        return "was edited after it was written (its run id does not follow from it)"
    return ""


_PACKED = ("image_ids", "truth", "prediction", "raw", "folder", "stamp")
_PLAIN = tuple(f.name for f in fields(Run) if f.name not in _PACKED)


def pack_run(run: Run) -> bytes:
    """Encode a run for the cache: its plain fields and image ids as JSON, then its counts."""
    plain = {name: getattr(run, name) for name in _PLAIN}
    raw = np.full_like(run.truth, np.nan, dtype=np.float64) if run.raw is None else run.raw
    counts = np.concatenate([run.truth, run.prediction, raw]).astype("<f8").tobytes()
    texts = [json.dumps(part).encode("ascii") for part in (plain, run.image_ids)]
    return b"\0".join([*texts, counts])


def unpack_run(
    data: bytes, folder: Path, known: dict[bytes, tuple[str, ...]], *, stamp: str = ""
) -> Run:
    """Decode a run from the cache.

    Args:
        data: bytes from `pack_run`.
        folder: folder of its record.
        known: lists of image ids decoded before, which many runs share; extended in place.
        stamp: stamp of its file.

    Raises:
        ValueError: the data are of another version; KeyError and TypeError likewise.
    """
    plain, ids, counts = data.split(b"\0", 2)
    if ids not in known:
        known[ids] = tuple(json.loads(ids))
    truth, prediction, raw = np.frombuffer(counts, "<f8").reshape(3, -1)
    return Run(
        **json.loads(plain),
        image_ids=known[ids],
        truth=truth,
        prediction=prediction,
        raw=None if np.isnan(raw).all() else raw,
        folder=folder,
        stamp=stamp,
    )
