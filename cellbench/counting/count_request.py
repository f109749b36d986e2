"""What is to be counted, by what and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cellbench.data.reader import ReadOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRequest:
    """What `cellbench.count` was asked for, checked.

    Attributes:
        pictures: files, and folders of them.
        recursive: whether folders within folders are looked into.
        reading: how pictures are read.
        run: folder, record or id of a finished run, or name of a kept model; None for the one
            that comes with cellbench.
        store: folder of `runs/`.
        device: "auto", "cpu", "cuda", ...
        trust_weights: take weights of another hash than the record's.
        scale: px that a cell should have per px that it has.
        um_per_px: edge of a pixel, micrometres.
        out: folder of the tables.
        marked: whether pictures are written with their cells marked.
        also: keys of `WRITERS`.
        regions: file or folder of regions whose cells are counted apart.
        annotated: name of a set of pictures of the same experiment that people annotated.
        group: pattern with parentheses around what names the group of a picture, looked for in its
            path below the folder that was named.
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
    regions: Path | None
    annotated: str | None
    group: str | None
