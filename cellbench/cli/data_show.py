"""`cellbench data show`: contact sheet of a set's images with their annotated cells."""

import math
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellbench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from cellbench.structures import Points

    Reader = Callable[[str], tuple[NDArray[np.uint8], Points]]

_TILE_PX = 520
_SHEET_PX = 24_000_000
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


@click.command("show")
@click.argument("name", metavar="SET")
@click.option("--ids", help="Show these images, separated by commas.")
@click.option("--count", type=click.IntRange(min=1), default=12, show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png",
              help="Where to write the picture.  [default: SET-sheet.png]")  # fmt: skip
@click.option("--annotation/--no-annotation", default=True, help="With the dots or without.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Which images are picked.")  # fmt: skip
def command(
    name: str, ids: str | None, count: int, output: Path | None, annotation: bool, seed: int
) -> None:
    """Draw a contact sheet: images picked at random, the number of cells under each.

    A set that is not on disk but simulated is drawn without storing it.
    """
    from cellbench.drawing import contact_sheet, overlay

    output = output or Path(f"{name}-sheet.png")
    if output.suffix.lower() not in _FORMATS:
        raise UserError(f"--output {output} should end in {', '.join(_FORMATS)}.")
    known, read = _source(name)
    chosen = _chosen(known, ids, count, seed)
    # Tiles are smaller for many images, to bound the size of the sheet and its memory.
    room = min(_TILE_PX, math.isqrt(_SHEET_PX // len(chosen)))
    tiles, captions = [], []
    for image_id in chosen:
        pixels, points = read(image_id)
        scale = room / max(pixels.shape[:2])
        tiles.append(
            overlay(
                pixels,
                truth=points if annotation else None,
                scale=math.floor(scale) if scale > 1 else scale,
                legend=False,
            )
        )
        noun = "cell" if len(points) == 1 else "cells"
        captions.append(f"{len(points)} {noun}\n{image_id}")
    _save(contact_sheet(tiles, captions, math.ceil(math.sqrt(len(tiles)))), output)
    click.echo(str(output))


def _source(name: str) -> "tuple[list[str], Reader]":
    """Return the ids of a set, and a function that reads pixels and points of one."""
    from cellbench.data.named_dataset import find_dataset
    from cellbench.data.stored_set import is_on_disk, open_set
    from cellbench.registry import SIMULATORS

    if not is_on_disk(name) and name in SIMULATORS:
        simulator = SIMULATORS.build({"type": name})
        indices = {simulator.image_id(i): i for i in range(simulator.images)}

        def draw(image_id: str) -> "tuple[NDArray[np.uint8], Points]":
            image = simulator.draw(indices[image_id])
            return image.pixels, image.points

        return sorted(indices), draw
    if not is_on_disk(name):
        find_dataset(name)  # reports an unknown name before a missing set
    stored = open_set(name)
    return stored.ids, lambda image_id: (stored.pixels(image_id), stored.sample(image_id).points)


def _chosen(known: list[str], ids: str | None, count: int, seed: int) -> list[str]:
    import numpy as np

    if ids is None:
        picked = np.random.default_rng(seed).permutation(len(known))[:count]
        return [known[i] for i in sorted(picked)]
    wanted = [part.strip() for part in ids.split(",") if part.strip()]
    unknown = [image_id for image_id in wanted if image_id not in known]
    if unknown or not wanted:
        raise UserError(
            f"--ids {ids!r} names {unknown[0] if unknown else 'nothing'!r}, and the set has "
            f"{len(known)} images, from {known[0]!r} to {known[-1]!r}."
        )
    return wanted


def _save(sheet: "Image.Image", output: Path) -> None:
    buffer = BytesIO()
    sheet.save(buffer, _FORMATS[output.suffix.lower()], quality=92)
    temporary = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(output)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(
            f"{output} could not be written ({error.strerror or error}); name another --output."
        ) from error
