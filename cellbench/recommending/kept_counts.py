"""Cross-validation of kept models on a set: only the calibration of their counts is fitted."""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cellbench import paths
from cellbench.counting.learned_pictures import ORIGIN, earlier_trainings, pictures_learned_from
from cellbench.counting.trained_counter import load_counter
from cellbench.data.appearance import training_summary
from cellbench.data.splits import EVERYTHING, FOLDS, HALF, make_split
from cellbench.data.stored_set import StoredSet
from cellbench.engine.pictures import draw_pictures
from cellbench.engine.scoring import recorded_groups
from cellbench.errors import UserError
from cellbench.files.writing import safe_id, write_atomically
from cellbench.metrics.calibration import CountCalibration, Kind, choose_calibration
from cellbench.recommending.candidates import Candidate
from cellbench.recommending.folds import CandidateResults
from cellbench.records.kept_models import kept_models
from cellbench.records.record_file import write_record
from cellbench.records.run_files import RECORD, WEIGHTS
from cellbench.records.trained_runs import TrainedRun, find_trained
from cellbench.structures import Prediction


def kept_models_for(
    stored: StoredSet, device: str, store: str | None, say: Callable[[str], None]
) -> tuple[list[CandidateResults], dict[str, "KeptRunner"]]:
    """Find the kept models that can be evaluated on a set.

    Args:
        stored: the set.
        device: "auto", "cpu", "cuda", ...
        store: folder of `runs/`; None for the default.
        say: function that takes a sentence per model whose training pictures are not on this disk.

    Returns:
        All kept models, with the reason in `out` of those that cannot; a runner for each of the
        others, by name.
    """
    raced, runners = [], {}
    for model in kept_models():
        one = CandidateResults(
            Candidate(f"{model.name} (kept)", "", trained=False, from_counts=True, kept=True)
        )
        raced.append(one)
        try:
            run = find_trained(str(model.folder), store)
        except UserError as error:
            one.out = str(error)
            continue
        known = pictures_learned_from(run, stored)
        if known:
            one.out = (
                f"It has learned from {len(known)} of these {len(stored)} pictures (it is of "
                f"{run.record['dataset']}, split {run.record['split']}), so that its errors on "
                "them say nothing of others."
            )
        elif known is None:
            say(f"{one.candidate.name}: the pictures that it was trained on "
                f"({run.record['dataset']}) are not on this disk, so that none could be looked "
                "for among these.")  # fmt: skip
        if not one.out:
            runners[one.candidate.name] = KeptRunner(model.name, run, stored, device, store)
    return raced, runners


def calibrated(
    own: CountCalibration | None, truth: Sequence[float], raw: Sequence[float], areas: Sequence[int]
) -> CountCalibration:
    """Fit a calibration of a model's raw counts to annotated pictures.

    It is fitted on top of the model's own calibration if that is a scale; one with an offset is
    ignored, since it is specific to the fields that it was fitted on.

    Args:
        own: the model's calibration.
        truth: (N,) annotated cells.
        raw: (N,) counts before calibration.
        areas: (N,) px.
    """
    scale = own.scale if own is not None and not own.offset else 1.0
    found = choose_calibration(truth, scale * np.asarray(raw, dtype=np.float64), areas)
    if scale == 1.0:
        return found
    kind: Kind = "line" if found.offset else "scale"
    return replace(found, kind=kind, scale=scale * found.scale, full_from=found.full_from / scale)


@dataclass
class KeptRunner:
    """Runner of folds of one kept model: pictures are counted once, each fold fits a calibration.

    Attributes:
        model: name of the model.
        run_of_model: its run, with record and weights.
        stored: the set.
        device: "auto", "cpu", "cuda", ...
        store: folder of `runs/`; None for the default.
    """

    model: str
    run_of_model: TrainedRun
    stored: StoredSet
    device: str
    store: str | None
    _found: dict[str, Prediction] | None = None

    def run(self, raced: CandidateResults, split: int, *, half: bool = False) -> None:
        """Fit the calibration on a fold's training part, score its test part, add the results.

        If the model cannot count the pictures, the reason is set in `raced.out`.

        Args:
            raced: the model.
            split: index of the fold.
            half: fit to half of the pictures, for the learning curve.
        """
        started = time.monotonic()
        try:
            self._counted()
        except UserError as error:
            raced.out = str(error)
            return
        parts = make_split(self.stored, protocol=HALF if half else FOLDS, split=split)
        correction = self._correction(parts.train)
        tested = {i: self._corrected(correction, i) for i in parts.test}
        images = [
            {"id": i, "truth": self.stored.entry(i).count, "prediction": one.count}
            for i, one in tested.items()
        ]
        if half:
            raced.halved += images
            raced.half_sizes.append(len(parts.train))
            return
        folder = self._folder(f"{FOLDS}-s{split}")
        # Pictures of another revision of the set must not stay beside the new ones.
        shutil.rmtree(folder / "pictures", ignore_errors=True)
        draw_pictures(
            folder / "pictures",
            self.stored,
            [self.stored.sample(i) for i in tested],
            list(tested.values()),
            radius_px=self.run_of_model.config.data.radius_px,
        )
        raced.images += images
        raced.folders.append(folder)
        raced.seconds.append(time.monotonic() - started)
        raced.train_sizes.append(len(parts.train))

    def write(self, raced: CandidateResults) -> Path:
        """Write a run of the model with a calibration fitted to all annotated pictures.

        Args:
            raced: the model with its folds, whose errors become those of the record.

        Returns:
            The folder, as `cellbench count --with` takes it.
        """
        record = self.run_of_model.record
        correction = self._correction(self.stored.ids)
        facts = [record["run_id"], self.stored.manifest_hash, correction.plain()]
        errors = [abs(float(one["prediction"]) - float(one["truth"])) for one in raced.images]
        images = list({str(image["id"]): image for image in raced.images}.values())
        content: dict[str, Any] = {key: record[key] for key in record if key != "groups"} | {
            "run_id": hashlib.sha256(repr(facts).encode()).hexdigest(),
            "dataset": self.stored.name,
            "manifest_hash": self.stored.manifest_hash,
            "protocol": EVERYTHING,
            "split": 0,
            "calibration": correction.plain(),
            "images": images,
            **recorded_groups(self.stored, images),
            "metrics": {"mae": float(np.mean(errors))},
            "training_pictures": training_summary(self.stored, self.stored.ids),
            "kept_model": {
                "name": self.model,
                "run_id": record["run_id"],
                "learned_from": [*earlier_trainings(record), {key: record[key] for key in ORIGIN}],
            },
        }
        folder = self._folder(EVERYTHING)
        write_atomically(folder / WEIGHTS, self.run_of_model.weights.read_bytes())
        # Not added to the store's records, which are of trained methods.
        with tempfile.TemporaryDirectory(prefix="cellbench-kept-") as temporary:
            file = write_record(Path(temporary), content)
            write_atomically(folder / RECORD, file.read_bytes())
        return folder

    def _counted(self) -> dict[str, Prediction]:
        if self._found is None:
            counter = replace(load_counter(self.run_of_model, device=self.device), calibration=None)
            self._found = {i: counter.count(self.stored.pixels(i), name=i) for i in self.stored.ids}
        return self._found

    def _correction(self, ids: Sequence[str]) -> CountCalibration:
        known = self.run_of_model.record.get("calibration")
        found = self._counted()
        return calibrated(
            None if known is None else CountCalibration.of(known),
            [self.stored.entry(i).count for i in ids],
            [found[i].count for i in ids],
            [self._area(i) for i in ids],
        )

    def _corrected(self, correction: CountCalibration, image_id: str) -> Prediction:
        found = self._counted()[image_id]
        (count,) = correction.correct([found.count], [self._area(image_id)])
        return replace(found, count=float(count))

    def _area(self, image_id: str) -> int:
        width, height = self.stored.entry(image_id).size
        return width * height

    def _folder(self, name: str) -> Path:
        place = paths.store(self.store) / "runs" / self.stored.name
        return place / f"kept-{safe_id(self.model)}-{name}"
