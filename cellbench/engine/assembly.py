"""Assembly of a run: its device, counter, starting weights, training and validation images."""

import gc
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellbench.data.pipeline import AnnotatedImages, PreparedImages
from cellbench.data.training_set import TrainingSet
from cellbench.data.whole_images import BATCH_PIXELS, WholeImages
from cellbench.data.workers import choose_workers
from cellbench.engine.devices import (
    Processes,
    choose_device,
    choose_precision,
    join_processes,
)
from cellbench.engine.evaluation import Labelled
from cellbench.engine.released import ReleasedProtocolCrops
from cellbench.engine.request import ResolvedRun
from cellbench.engine.training_state import Training
from cellbench.engine.work_progress import Task, silent_task
from cellbench.errors import UserError
from cellbench.models.build import build_counter
from cellbench.models.counter import CellCounter
from cellbench.registry import TRANSFORMS


@dataclass(frozen=True)
class Prepared(ResolvedRun):
    """A resolved run with its device, precision and images.

    Attributes:
        device: of the network.
        precision: "float32" or "bfloat16".
        processes: rank of this process and number of processes.
        images: of the set, with the transforms of `data.prepare` applied.
        fold: see `cellbench.engine.evaluation.infer`; False for records older than folding.
    """

    device: torch.device
    precision: str
    processes: Processes
    images: AnnotatedImages
    fold: bool


def prepare(found: ResolvedRun, *, fold: bool = True) -> Prepared:
    """Choose device and precision of a run, and join torchrun's process group.

    Raises:
        UserError: the device cannot be used, or a transform of whole images is invalid.
    """
    config, device = found.experiment.config, choose_device(found.request.device)
    precision = choose_precision(config.schedule.precision, device)
    if device.type == "cuda":  # free the memory of earlier runs in this process
        # PyTorch imports its compiler with the first optimiser of a process; this keeps the frames
        # of that run, and all objects in them, until garbage is collected.
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    images: AnnotatedImages = found.stored
    if config.data.prepare:
        scale = config.data.input_scale
        images = PreparedImages(images, [make_transform(o, scale) for o in config.data.prepare])
    return Prepared(
        **vars(found),
        device=device,
        precision=precision,
        processes=join_processes(device),
        images=images,
        fold=fold,
    )


def start_counter(prepared: Prepared, say: Callable[[str], None]) -> CellCounter:
    """Build the counter of a run on its device, initialised from the run's seed."""
    torch.manual_seed(prepared.experiment.seed)
    np.random.seed(prepared.experiment.seed)  # noqa: NPY002 (parts from outside may draw from it)
    counter = build_counter(prepared.experiment.config.model, say=say)
    return counter.to(device=prepared.device, memory_format=torch.channels_last)


def make_training(
    prepared: Prepared, counter: CellCounter, folder: Path, *, task: Task = silent_task
) -> Training:
    """Build the inputs of a training: counter, training crops and validation images.

    Args:
        prepared: config, images and device of the run.
        counter: the method, on its device.
        folder: of the run.
        task: shows the progress of a validation.

    Raises:
        UserError: the set has counts without points, and the method learns from points.
    """
    data = prepared.experiment.config.data
    own = prepared.stored.manifest.own
    if own is not None and own.counts_only and counter.needs_points:
        raise UserError(
            f"{prepared.stored.name} has numbers of cells and no places, and "
            f"{prepared.experiment.config.method.name} learns from places; take methods/bloblog.py "
            "or methods/watershed.py, or mark the cells."
        )
    train = TrainingSet(
        prepared.images,
        prepared.split.train,
        transforms=[make_transform(options, data.input_scale) for options in data.augment],
        seed=prepared.experiment.seed,
        split=prepared.experiment.split,
        crops_per_image=data.crops_per_image,
        batch_size=data.batch_size,
        input_scale=data.input_scale,
    )
    validation: Labelled | None = None
    if prepared.experiment.protocol == "released":
        validation = ReleasedProtocolCrops(train)
    elif prepared.split.val:
        validation = whole_images(prepared, prepared.split.val)
    return Training(
        counter=counter,
        config=prepared.experiment.config,
        train=train,
        validation=validation,
        seed=prepared.experiment.seed,
        split=prepared.experiment.split,
        device=prepared.device,
        precision=prepared.precision,
        processes=prepared.processes,
        workers=choose_workers(prepared.request.workers, on_gpu=prepared.device.type == "cuda"),
        folder=folder,
        task=task,
        fold=prepared.fold,
    )


def make_transform(options: Any, input_scale: float) -> Any:
    """Build a transform; `input_scale` (input px per image px) is passed where it is an option."""
    part = TRANSFORMS.get(options["type"])
    wants_scale = "input_scale" in inspect.signature(part).parameters
    given: dict[str, Any] = {"input_scale": input_scale} if wants_scale else {}
    return TRANSFORMS.build(options, **given)


def whole_images(prepared: Prepared, image_ids: list[str]) -> WholeImages:
    """Return a loader of whole images at the input scale, as they are validated and scored."""
    batch_pixels = BATCH_PIXELS  # small, for a CPU's caches
    if prepared.device.type == "cuda":
        # Large batches need fewer launches. A network of stride 1 keeps about 1 kB a pixel: 2
        # megapixels take 2 GB of memory, which runs may share, and at most an eighth of the GPU's.
        memory = torch.cuda.get_device_properties(prepared.device).total_memory
        batch_pixels = min(1 << 21, memory >> 13)
    return WholeImages(
        prepared.images,
        image_ids,
        input_scale=prepared.experiment.config.data.input_scale,
        batch_pixels=batch_pixels,
    )


def starting_weights(counter: CellCounter) -> dict[str, str | None]:
    """Return source and SHA-256 of the weights that training starts from, as in a record."""
    info = counter.weights_info
    found: dict[str, str | None] = {"source": info.source, "sha256": info.sha256}
    if info.sha256 is None and info.arch:
        found["wanted"] = info.arch  # so that a sweep matches the run once the file is there
    return found
