"""`cellbench.import_own`: import a folder of annotated pictures as a data set."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellbench.data.own_sets.own_import import ImportPlan
    from cellbench.data.set_writer import Progress
    from cellbench.data.stored_set import StoredSet


def import_own(
    name: str,
    source: str | Path,
    *,
    annotations: str | Path | None = None,
    group: str | None = None,
    um_per_px: float | None = None,
    channel: str | None = None,
    page: str | None = None,
    project: str | None = None,
    skip_bare: bool = False,
    force: bool = False,
    confirm: "Callable[[ImportPlan], bool]" = lambda folder: True,
    progress: "Progress | None" = None,
) -> "StoredSet | None":
    """Import a folder of pictures with annotations as a data set.

    An annotation is matched to a picture by its name (a.png with a.txt, a_dots.png, a_mask.tif,
    a.roi, a_seg.npy), or by the name that it contains (COCO, CVAT, VIA, a table with a column
    called image). A contradiction raises, and nothing is stored. From a folder of counts that were
    corrected with `cellbench view`, the checked pictures are imported with their corrected cells.
    With several annotators the corrections in corrected.csv are used, and the disagreement of the
    annotators is a row of the set's leaderboard.

    Args:
        name: name of the set, as `cellbench run --dataset` and the other commands take it.
        source: folder of the pictures; those in its subfolders are taken too.
        annotations: folder or file of the annotations, where they are not in the same folder.
        group: what pictures share that no split divides, such as a donor: a pattern of their names
            with parentheses around it, such as '(mouse[0-9]+)_', a column of a table with a line a
            picture, or `folder`. Corrected planes of a stack share their stack by default.
        um_per_px: edge of a pixel, micrometres; what all files state by default.
        channel: channel of files with several: its number from 1 or its name.
        page: page of files with several: its number from 1, or such as Z=3,T=1.
        project: make one picture of several planes: max, mean, min or median.
        skip_bare: leave pictures without annotation out.
        force: replace the set if it is there already.
        confirm: called with the plan of the import; nothing is stored if it returns False.
        progress: called after every picture.

    Returns:
        The set on disk; None if `confirm` returned False.

    Raises:
        UserError: a file cannot be read, or contradicts its picture or another file.
    """
    from contextlib import ExitStack
    from tempfile import TemporaryDirectory

    from cellbench import paths
    from cellbench.counting.corrected_set import (
        annotator_counts,
        group_of_planes,
        is_corrected,
        write_corrected,
    )
    from cellbench.counting.counted_folder import read_counted
    from cellbench.data.own_sets.own_import import plan_import, write_planned_set
    from cellbench.data.planes import PlaneChoice
    from cellbench.data.reader import ReadOptions

    place = Path(source).expanduser()
    options = ReadOptions(PlaneChoice(channel, page, project))
    counted = None
    with ExitStack() as stack:
        if annotations is None and is_corrected(place):
            counted = read_counted(place)
            options = counted.reading
            work = Path(stack.enter_context(TemporaryDirectory()))
            place, cells = work / "pictures" / place.resolve().name, work / "cells"
            write_corrected(counted, place, cells)
            annotations = cells
            group = group if group is not None else group_of_planes(counted)
            edges = {picture.um_per_px for picture in counted.pictures}
            um_per_px = edges.pop() if um_per_px is None and len(edges) == 1 else um_per_px
        folder = plan_import(
            name,
            place,
            annotations=None if annotations is None else Path(annotations),
            group=group,
            um_per_px=um_per_px,
            options=options,
            skip_bare=skip_bare,
            force=force,
            progress=progress,
        )
        if not confirm(folder):
            return None
        people = None
        if counted is not None:
            written = {p.path.relative_to(place): p.image_id for p in folder.pictures}
            names = {path.with_suffix("").as_posix(): name for path, name in written.items()}
            people = annotator_counts(counted, names)
        beside = {} if people is None else {paths.PEOPLE: people}
        return write_planned_set(folder, force=force, beside=beside)
