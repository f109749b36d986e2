"""Validated arguments of a count."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cellbench.data.reader import ReadOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRequest:
    """Validated arguments of `cellbench.count`.

    Attributes:
        pictures: files, and folders of them.
        recursive: whether subfolders are searched.
        reading: how pictures are read.
        run: folder, record or id of a finished run, or name of a kept model; None for the default
            model.
        store: folder of `runs/`.
        device: "auto", "cpu", "cuda", ...
        trust_weights: whether weights are accepted whose hash is not the record's.
        scale: resampling factor: 2 where cells are half as wide, in px, as those of the training.
        um_per_px: edge of a pixel, micrometres.
        out: folder of the tables.
        marked: whether pictures are written with their cells marked.
        also: keys of `WRITERS`.
        excel: whether the tables are also written as a workbook.
        regions: file or folder of regions whose cells are counted separately.
        annotated: name of a set of annotated pictures of the same experiment.
        group: regular expression whose parentheses enclose the name of a picture's group; searched
            in the path below the given folder.
    """

    pictures: Sequence[str | Path]
    recursive: bool
    reading: ReadOptions
    run: str | None
    store: str | None
    device: str
    trust_weights: bool
    scale: float
    um_per_px: float | None
    out: Path
    marked: bool
    also: Sequence[str]
    excel: bool
    regions: Path | None
    annotated: str | None
    group: str | None
