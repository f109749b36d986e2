"""A record in the short form that tables and statistics need, and its bytes in the cache."""

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
    """A record without its config, curve and points.

    Attributes:
        file: name of the record within the folder of its set.
        run_id: of the record.
        method: name with the keys that `--set` changed.
        method_title: for people.
        config_hash: of the resolved config.
        recipe: of the method when it ran.
        dataset: name of the set.
        simulated: whether the set is a simulator's.
        manifest_hash: which revision of the set.
        protocol: name.
        split: number.
        seed: number.
        iterations: training steps.
        epochs: the same in passes over the training images.
        weights_source: where the pretrained weights came from.
        weights_sha256: hash of their file; None without.
        weights_missed: whether a file was wanted and random filters took its place.
        parameters: of the method.
        gflops: of one image; None where unknown.
        metrics: the numbers of `metrics` (no lists).
        train_s: seconds of training; None where unknown.
        images_per_s: at inference; None where unknown.
        image_ids: of the scored images.
        truth: (N,) annotated counts, in that order.
        prediction: (N,) predicted counts.
        selection: what the weights were chosen on: "val", "last", "train crops".
        budget_s: seconds that the number of steps was fitted to; None where it was set.
        schedule_epochs: passes over the training images of its whole schedule: what its config
            asks for, or asked for before the command line did; None if unknown.
        training: a hash of the losses of the training curve; empty where there are none. Two
            trainings from different seeds never share it.
        late_gain: share of the validation error that the last quarter of the steps took away, the
            best look within it against the best before; None where there were none to compare.
        views: in how many orientations each image is counted.
        groups: by image, its group, of sets of one's own that have groups.
        raw: (N,) counts before they were corrected; None where they are not.
        edited: what was changed after it was written, as the end of a sentence; empty if nothing.
        folder: where the record is; None where that is not known.
        stamp: times and size of its file when it was read; empty where that is not known.
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
        """Whether it was trained by gradient steps; a fit without them has no losses."""
        return bool(self.training)

    @property
    def path(self) -> Path | None:
        """The file of the record, where its folder is known."""
        return None if self.folder is None else self.folder / self.file


def summarise(record: "Record", path: Path) -> Run:
    """The short form of a record."""
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
    looks = [
        (look.step, look.validation_mae)
        for look in record.curve
        if look.step is not None and look.validation_mae is not None
    ]
    before = [mae for step, mae in looks if step <= 0.75 * record.iterations]
    if len(looks) == len(before) or not before or not min(before):
        return None
    return 1 - min(mae for _, mae in looks) / min(before)


def _edited(record: "Record") -> str:
    """What shows that a record does not hold what was written."""
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
    """A run for the cache: what JSON holds, the ids of its images, and its counts."""
    plain = {name: getattr(run, name) for name in _PLAIN}
    raw = np.full_like(run.truth, np.nan, dtype=np.float64) if run.raw is None else run.raw
    counts = np.concatenate([run.truth, run.prediction, raw]).astype("<f8").tobytes()
    texts = [json.dumps(part).encode("ascii") for part in (plain, run.image_ids)]
    return b"\0".join([*texts, counts])


def unpack_run(
    data: bytes, folder: Path, known: dict[bytes, tuple[str, ...]], *, stamp: str = ""
) -> Run:
    """A run from the cache.

    Args:
        data: from `pack_run`.
        folder: of its record.
        known: lists of images that were read before, which many runs share; added to.
        stamp: of its file.

    Raises:
        ValueError: it is of another version, as KeyError and TypeError are.
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
