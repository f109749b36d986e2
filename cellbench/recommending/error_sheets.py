"""Contact sheets of the finalists' largest errors."""

import io
from collections.abc import Sequence
from pathlib import Path

from cellbench.files.writing import write_atomically
from cellbench.recommending.folds import CandidateResults


def draw_errors(finalists: Sequence[CandidateResults], folder: Path) -> tuple[Path, ...]:
    """Draw a sheet of the worst pictures of each finalist's folds into `folder`.

    Returns:
        The files, one per finalist that has such pictures.
    """
    from PIL import Image

    from cellbench.drawing import contact_sheet

    files = []
    for one in finalists:
        drawn = [p for run in one.folders for p in sorted((run / "pictures").glob("worst-[12]-*"))]
        if not drawn:
            continue
        tiles = [Image.open(path).convert("RGB") for path in drawn[:9]]
        captions = [path.stem.split("-", 2)[2] for path in drawn[:9]]
        stream = io.BytesIO()
        contact_sheet(tiles, captions, 3).save(stream, "PNG")
        file = folder / f"errors-{one.candidate.name.lower()}.png"
        write_atomically(file, stream.getvalue(), elsewhere="--store")
        files.append(file)
    return tuple(files)
