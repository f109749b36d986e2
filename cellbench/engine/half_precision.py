"""Conversion of a trained method's weights to half precision, with a record of their scores."""

import tempfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from cellbench.engine.record import environment
from cellbench.engine.verify import prepare_recorded, score_kept
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.files.writing import sha256_file, write_atomically
from cellbench.models.kept_weights import load_kept
from cellbench.records.expected_error import copy_recommendation
from cellbench.records.record_file import read_record, write_record
from cellbench.records.run_files import RECORD, WEIGHTS
from cellbench.records.trained_runs import TrainedRun


def keep_in_half(run: TrainedRun, folder: Path, display: Display) -> dict[str, Any]:
    """Write a run's weights in half precision, a record of their test scores, and what is beside.

    Thresholds stay as they were chosen; the correction of counts is estimated again, as `verify`
    does for the weights that it scores. Weights that are too large for half precision are refused
    when the file is read back, as not finite. The recommendation beside the weights of a run by
    `recommend`, whose folds were in single precision, is copied.

    Args:
        run: its weights are those of its record, and its data set is on disk.
        folder: receives the files; the record of the run is not changed.
        display: shows messages.

    Returns:
        The new record.

    Raises:
        UserError: the data set is missing or of another revision, the folder is not writable, or
            the run is a kept model with a correction of counts for other pictures.
    """
    record = run.record
    if "kept_model" in record:
        raise UserError(
            f"{run.source} is of a kept model with a correction of counts for "
            f"{record['dataset']}, which its weights were not trained on; keep it without --half."
        )
    counter = load_kept(run.config.model, run.weights, sha256=run.weights_sha256)
    state = {
        name: (value.half() if value.dtype == torch.float32 else value).contiguous()
        for name, value in counter.state_dict().items()
    }
    weights = folder / WEIGHTS
    write_atomically(weights, safetensors.torch.save(state))
    content = record | {"scored_weights": {"sha256": sha256_file(weights)}}
    with tempfile.TemporaryDirectory(prefix="cellbench-half-") as temporary:
        store = Path(temporary)
        prepared = prepare_recorded(record, run.config, store, "cpu", display)
        scored, calibration = score_kept(prepared, weights, content)
        here = (prepared.device, prepared.precision, prepared.processes)
        content |= {
            "images": scored.scores.images,
            "metrics": scored.scores.metrics,
            "environment": environment(*here, fold=prepared.fold),
        }
        if calibration is not None:
            content["calibration"] = calibration.plain()
        file = write_record(store, content, points=scored.points)
        copy_recommendation(run.weights.parent, folder)
        write_atomically(folder / RECORD, file.read_bytes())
        return read_record(file)
