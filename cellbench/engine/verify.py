"""Reproduction of a record: its weights, or a new training, score the test part again."""

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellbench.config.part_options import check_untrusted_parts
from cellbench.config.schema import ResolvedConfig
from cellbench.data.resolve import resolve_set
from cellbench.data.splits import make_split
from cellbench.durations import rough_duration
from cellbench.engine.assembly import (
    Prepared,
    make_training,
    prepare,
    start_counter,
)
from cellbench.engine.record import environment
from cellbench.engine.request import Request, ResolvedRun
from cellbench.engine.run import run_prepared
from cellbench.engine.schedule import StepTimings, keep_plan, make_plan
from cellbench.engine.scoring import Scored, find_calibration, score_test
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.experiment import Experiment
from cellbench.hashes import is_intact
from cellbench.metrics.calibration import CountCalibration
from cellbench.models.kept_weights import load_kept, state_of
from cellbench.records.point_lists import PointLists, read_points
from cellbench.records.record_file import read_record
from cellbench.records.run_files import WEIGHTS
from cellbench.records.trained_runs import (
    recorded_config,
    scored_sha256,
    unbound_notice,
    weights_match_record,
)

# Smaller differences change no digit that is displayed.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-3
_PX = 0.05

_VALUES = ("truth", "prediction", "raw", "tp", "fp", "fn", "game1", "game2", "game3")


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of scoring a record's test part again.

    Attributes:
        weights: the file that was scored; None where the method was trained again.
        images: number of scored test images.
        mae: of these, now; None without images.
        differing: ids of the images with other results.
        differences: one sentence for each difference in results.
        circumstances: differences from the recorded environment, one sentence each.
    """

    weights: Path | None
    images: int
    mae: float | None
    differing: list[str]
    differences: list[str]
    circumstances: list[str]

    @property
    def same(self) -> bool:
        """Whether the record was reproduced."""
        return not self.differences


def verify_record(
    path: Path,
    store: Path,
    *,
    device: str = "auto",
    train: bool = False,
    trust_weights: bool = False,
    display: Display | None = None,
) -> Verification:
    """Score the test part of a record again and compare it image by image.

    Nothing is written into the store: where the weights are missing (or with `train`), the
    training is in a temporary folder.

    Args:
        path: of the record.
        store: its `runs/` may hold the weights.
        device: "auto", "cpu", "cuda", ...
        train: train again even if the weights are there.
        trust_weights: score weights of another hash than the record's.
        display: shows messages and progress.

    Raises:
        UserError: the record cannot be read or used, or its data set, weights or parts have
            changed, so that there is nothing to compare with.
        RunError: the training cannot continue.
    """
    display = display or Display()
    record = read_record(path)
    if "kept_model" in record:
        raise UserError(
            f"The record {path} is of a kept model with a correction of counts for "
            f"{record['dataset']}; nothing was trained for it, so verify the model's own record."
        )
    config = recorded_config(record, f"The record {path}")
    check_untrusted_parts(config.plain(), f"The record {path}")
    state_of(config.model)  # refuses a model that is too large or cannot be built
    recorded = read_points(path, record)
    prepared = prepare_recorded(record, config, store, device, display)
    weights = prepared.experiment.folder(store) / WEIGHTS
    if train or not weights_match_record(weights, record):
        display.say(_before_training(record, weights, asked=train))
        images, metrics, points = _train(record, prepared, display)
        scored = None
    else:
        display.say(f"Scoring {len(prepared.split.test)} test images with {weights}.")
        if notice := unbound_notice(record):
            display.say(notice)
        found, _ = score_kept(prepared, weights, record, trust=trust_weights)
        images, metrics, points = found.scores.images, found.scores.metrics, found.points
        scored = weights
    differing, differences = compare(record, recorded, images, metrics, points)
    if not is_intact(record):
        differences.insert(0, "The record was changed after it was written: its hash does not fit.")
    now = environment(prepared.device, prepared.precision, prepared.processes, fold=prepared.fold)
    return Verification(
        weights=scored,
        images=len(images),
        mae=metrics["mae"],
        differing=differing,
        differences=differences,
        circumstances=_circumstances(record["environment"], now),
    )


def compare(
    record: Mapping[str, Any],
    recorded: PointLists,
    images: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any],
    points: PointLists | None,
) -> tuple[list[str], list[str]]:
    """Compare a record with a new scoring of its images.

    Args:
        record: as it was read.
        recorded: its points by image.
        images: the new rows, as a record has them.
        metrics: the new metrics.
        points: the new points by image; None for a method without points.

    Returns:
        Ids of the differing images; a sentence for each of them and each differing metric.
    """
    before = {image["id"]: image for image in record["images"]}
    after = {image["id"]: image for image in images}
    differing, sentences = [], []
    for image_id in [*before, *(i for i in after if i not in before)]:
        if image_id not in after or image_id not in before:
            where = "was not scored now" if image_id in before else "is not in the record"
            sentences.append(f"Image {image_id} {where}.")
            differing.append(image_id)
            continue
        old, new = before[image_id], after[image_id]
        parts = [
            f"{key} {old.get(key)} is now {new.get(key)}"
            for key in _VALUES
            if not _close(old.get(key), new.get(key))
        ]
        if moved := _moved(recorded.get(image_id), (points or {}).get(image_id)):
            parts.append(moved)
        if parts:
            sentences.append(f"Image {image_id}: {', '.join(parts)}.")
            differing.append(image_id)
    for key, value in metrics.items():
        if not isinstance(value, list | dict) and not _close(record["metrics"].get(key), value):
            sentences.append(f"{key} {record['metrics'].get(key)} is now {value}.")
    return differing, sentences


def prepare_recorded(
    record: Mapping[str, Any], config: ResolvedConfig, store: Path, device: str, display: Display
) -> Prepared:
    """Prepare a record's run for scoring again, with batch norms folded only where they were.

    Raises:
        UserError: the data set is not on disk, or is another revision.
    """
    stored = resolve_set(record["dataset"], strict=True, say=display.say)
    if stored.manifest_hash != record["manifest_hash"]:
        raise UserError(
            f"The record is of another revision of {stored.name} than the one on disk; import "
            "that revision with `cellbench data import --force`, or run the method anew."
        )
    protocol, split = record["protocol"], record["split"]
    found = ResolvedRun(
        request=Request(record["method"], device=device, store=str(store)),
        experiment=Experiment.of_record(record, config),
        stored=stored,
        split=make_split(stored, protocol=protocol, split=split),
        store=store,
    )
    # records made before norms were folded do not have the key
    return prepare(found, fold=record["environment"].get("batch_norms") == "folded")


def _before_training(record: Mapping[str, Any], weights: Path, *, asked: bool) -> str:
    took = record["timing"].get("train_s")
    length = "" if took is None else f", which took {rough_duration(took)} when it was recorded"
    why = "Training again as asked" if asked else f"Its weights are gone from {weights.parent}"
    go_on = "" if asked else "; training again"
    steps = f"{record['iterations']} steps" if record["selection"]["step"] else "no steps"
    return f"{why}{go_on}: {steps}{length}."


def _train(
    record: Mapping[str, Any], prepared: Prepared, display: Display
) -> tuple[list[dict[str, Any]], dict[str, Any], PointLists | None]:
    """Train the run again in a temporary folder; return its image rows, metrics and points."""
    with tempfile.TemporaryDirectory(prefix="cellbench-verify-") as temporary:
        store = Path(temporary)
        again = replace(prepared, store=store, request=replace(prepared.request, store=temporary))
        counter = start_counter(again, lambda text: None)
        found = counter.weights_info.sha256
        if found != record["weights"]["sha256"]:
            raise UserError(
                f"The record's training began with the weights {record['weights']['sha256']} "
                f"({record['weights']['source']}) and here it would with {found}; put that file "
                "into the weights folder."
            )
        if again.experiment.config.schedule.budget_s is not None:
            # A budget is measured anew on every machine: the number of steps is the record's.
            validations = max(1, len(record["curve"]))
            schedule = replace(again.experiment.config.schedule, validations=validations)
            folder = again.experiment.folder(store)
            folder.mkdir(parents=True, exist_ok=True)
            plan = make_plan(record["iterations"], schedule, counter.stages)
            keep_plan(folder, plan, StepTimings(0.0, 0.0, 0.0, 0.0))
        outcome = run_prepared(again, display, time.monotonic())
        if outcome.record is None or outcome.record_file is None:
            raise UserError("Only the first process of several can verify a record.")
        points = read_points(outcome.record_file, outcome.record)
        has_points = outcome.record["points"] is not None
        return (
            outcome.record["images"],
            outcome.record["metrics"],
            points if has_points else None,
        )


def score_kept(
    prepared: Prepared, weights: Path, record: Mapping[str, Any], *, trust: bool = False
) -> tuple[Scored, CountCalibration | None]:
    """Score kept weights on the test part as a run does; return scores and correction of counts.

    The correction is estimated again, on the images that the run estimated it on.

    Args:
        prepared: from `prepare_recorded`.
        weights: the file.
        record: of these weights.
        trust: score weights of another hash than the record's.
    """
    sha256 = scored_sha256(record)
    counter = load_kept(prepared.experiment.config.model, weights, sha256=sha256, trust=trust)
    counter.to(device=prepared.device, memory_format=torch.channels_last)
    training = make_training(prepared, counter, weights.parent)
    # records made before counts were corrected do not have the key
    corrected = record.get("calibration") is not None
    calibration = find_calibration(prepared, training) if corrected else None
    return score_test(prepared, training, calibration), calibration


def _moved(old: Any, new: Any) -> str:
    """Describe how an image's points differ from the recorded ones.

    Empty within `_PX`, and where either side has no points stored.
    """
    if old is None or new is None:
        return ""
    before = np.asarray(old[0], dtype=np.float64).reshape(-1, 2)
    after = np.asarray(new[0], dtype=np.float64).reshape(-1, 2)
    if len(before) != len(after):
        return f"{len(before)} points are now {len(after)}"
    distance = np.abs(before - after).max(initial=0.0)
    return f"points moved by up to {distance:.2f} px" if distance > _PX else ""


def _circumstances(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    keys = ("torch", "torchvision", "numpy", "device_name", "precision", "threads")
    return [
        f"{key} was {then[key]} and is {now[key]}"
        for key in keys
        if key in then and then[key] != now[key]
    ]


def _close(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
