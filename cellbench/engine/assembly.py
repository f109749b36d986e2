"""From a request to what trains: the counter as a run starts with it, its images, its weights."""

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
from cellbench.engine.released import TrainingCrops
from cellbench.engine.request import FoundRun
from cellbench.engine.training_state import Training
from cellbench.engine.work_progress import Task, silent_task
from cellbench.errors import UserError
from cellbench.models.build import build_counter
from cellbench.models.counter import CellCounter
from cellbench.registry import TRANSFORMS


@dataclass(frozen=True)
class Prepared(FoundRun):
    """A run that was found, and where it is computed.

    Attributes:
        device: of the network.
        precision: "float32" or "bfloat16".
        processes: place among those of torchrun.
        images: the set's, as every method sees them.
        fold: see `cellbench.engine.evaluation.infer`; False for what was made before.
    """

    device: torch.device
    precision: str
    processes: Processes
    images: AnnotatedImages
    fold: bool


def prepare(found: FoundRun, *, fold: bool = True) -> Prepared:
    """Choose where a run is computed, and join the processes that torchrun started.

    Raises:
        UserError: the device is not there, or a transform of whole images is none.
    """
    config, device = found.experiment.config, choose_device(found.request.device)
    precision = choose_precision(config.schedule.precision, device)
    if device.type == "cuda":  # of runs before this one in the process, and what they have left
        # The first optimiser of a process has PyTorch import its compiler, which keeps the frames
        # of that run, and all that lives in them, for the collector.
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
    """The method as a run starts with it: the same numbers for the same seed."""
    torch.manual_seed(prepared.experiment.seed)
    np.random.seed(prepared.experiment.seed)  # noqa: NPY002 (parts from outside may draw from it)
    counter = build_counter(prepared.experiment.config.model, say=say)
    return counter.to(device=prepared.device, memory_format=torch.channels_last)


def make_training(
    prepared: Prepared, counter: CellCounter, folder: Path, *, task: Task = silent_task
) -> Training:
    """All that the training needs: the counter, its crops, what it is validated on.

    Args:
        prepared: config, images and device of the run.
        counter: the method, on its device.
        folder: of the run.
        task: shows how far a validation is.
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
        validation = TrainingCrops(train)
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
    """Build a transform of a config; one with `input_scale` gets px of the input per image px."""
    part = TRANSFORMS.get(options["type"])
    wants_scale = "input_scale" in inspect.signature(part).parameters
    given: dict[str, Any] = {"input_scale": input_scale} if wants_scale else {}
    return TRANSFORMS.build(options, **given)


def whole_images(prepared: Prepared, image_ids: list[str]) -> WholeImages:
    """Images as they are scored: whole, at the set's scale."""
    batch_pixels = BATCH_PIXELS  # a CPU's caches hold few
    if prepared.device.type == "cuda":
        # A GPU has few launches with many. A network of stride 1 keeps about 1 kB a pixel, so that
        # 2 megapixels are 2 GB of the memory that runs may share, and an eighth of a small GPU's.
        memory = torch.cuda.get_device_properties(prepared.device).total_memory
        batch_pixels = min(1 << 21, memory >> 13)
    return WholeImages(
        prepared.images,
        image_ids,
        input_scale=prepared.experiment.config.data.input_scale,
        batch_pixels=batch_pixels,
    )


def starting_weights(counter: CellCounter) -> dict[str, str | None]:
    """The source of the weights that training starts from, as records hold it."""
    info = counter.weights_info
    found: dict[str, str | None] = {"source": info.source, "sha256": info.sha256}
    if info.sha256 is None and info.arch:
        found["wanted"] = info.arch  # so that a sweep knows the run again once the file is there
    return found
