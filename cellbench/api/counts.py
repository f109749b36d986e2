"""`cellbench.count`: count the cells in a user's own pictures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from cellbench.counting.folder_count import FolderCount
    from cellbench.engine.work_progress import Display


@dataclass(frozen=True, slots=True)
class CountResult:
    """Result of a count, with tables as data frames.

    Attributes:
        found: pictures with their counts, files that were not counted, and the run.
    """

    found: "FolderCount"

    @property
    def refused(self) -> tuple[str, ...]:
        """A sentence for each picture that could not be counted."""
        return self.found.refused

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each difference from the training pictures, and for each other doubt."""
        return self.found.warnings

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """Name and reason of each file that was not counted, pictures or not."""
        return self.found.skipped

    @property
    def counts(self) -> "pd.DataFrame":
        """One row per picture, as in counts.csv: image, count, per_mm2, width_px, height_px, ..."""
        import pandas as pd

        from cellbench.counting.count_rows import COUNT_HEAD

        rows = [asdict(one) for one in self.found.counted]
        for row in rows:
            row["low90"], row["high90"] = row.pop("interval") or (None, None)
            row["width_px"], row["height_px"] = row.pop("size")
            row["black"], row["white"] = row.pop("range")
        return pd.DataFrame(rows, columns=list(COUNT_HEAD))

    @property
    def regions(self) -> "pd.DataFrame":
        """One row per region, as in regions.csv; empty if no regions were given."""
        import pandas as pd

        rows = [{**asdict(one), "per_mm2": one.per_mm2} for one in self.found.regions]
        names = ["image", "region", "count", "area_px", "area_mm2", "per_mm2"]
        return pd.DataFrame(rows, columns=names)

    @property
    def estimates(self) -> "pd.DataFrame":
        """One row per group, as in estimates.csv; empty if none were requested."""
        import pandas as pd

        from cellbench.counting.experiment_means import table

        return pd.DataFrame(table(self.found.estimates))

    @property
    def points(self) -> "pd.DataFrame":
        """One row per cell: image, x_px, y_px, score (NaN if it has none)."""
        import pandas as pd

        from cellbench.counting.count_tables import POINTS

        table = pd.read_csv(self.found.folder / POINTS, dtype={"image": str}, na_filter=False)
        table["score"] = pd.to_numeric(table["score"], errors="coerce")
        own = table["image"].isin([one.image for one in self.found.counted])
        return table[own].reset_index(drop=True)


def count(
    pictures: str | Path | Sequence[str | Path],
    run: str | Path | None = None,
    *,
    out: str | Path = "counts",
    scale: float = 1.0,
    um_per_px: float | None = None,
    channel: str | None = None,
    page: str | None = None,
    project: str | None = None,
    range: tuple[float, float] | None = None,
    invert: bool = False,
    recursive: bool = False,
    roi: str | Path | None = None,
    annotated: str | None = None,
    group: str | None = None,
    no_pictures: bool = False,
    also: Sequence[str] = (),
    excel: bool = False,
    device: str = "auto",
    trust_weights: bool = False,
    store: str | None = None,
    display: "Display | None" = None,
) -> CountResult:
    """Count the cells in your own pictures with a trained method.

    Writes counts.csv (a line a picture), points.csv (a line a cell) and pictures with the cells
    marked. The interval behind a count holds the true one in 90 % of pictures like those that the
    method was tested on; on others it may not. Pictures that are in the tables already are not
    counted again.

    A method that runs in another Python takes it from the environment alone
    ($CELLBENCH_CELLPOSE_PYTHON, $CELLBENCH_STARDIST_PYTHON): one that was set in the run
    (--set model.python=) is refused, since a record names no program.

    Args:
        pictures: files or folders of them.
        run: a finished run (its folder, its record or its id), or a name that `cellbench models
            list` has. By default the model that comes with cellbench and finds bright nuclei on a
            dark ground.
        out: folder of the tables.
        scale: 2 where your cells are half as wide, in px, as those the run was trained on.
        um_per_px: edge of a pixel in micrometres: adds cells a square millimetre. By default
            what a file states.
        channel: which channel of files of several: its number from 1, its name, or three numbers
            with commas, which become red, green and blue.
        page: which z slice, time point or page of files of several: its number from 1, or Z=3,T=1;
            all counts each of them as a picture of its own, T=all each time point.
        project: make one plane of all slices: max, mean, min or median.
        range: the numbers that are black and white in all pictures; chosen for each by default.
        invert: swap bright and dark.
        recursive: look into folders within folders.
        roi: regions whose cells are counted apart, into regions.csv: a file for all pictures, or a
            folder with a file for each (GeoJSON of QuPath, .roi or .zip of ImageJ, a mask picture).
            A cell belongs to the region that its centre lies in; on a border, to the one at its
            right and below.
        annotated: a set (`cellbench data import NAME --own`) of some pictures of the same
            experiment, chosen without a look at them, that people annotated: means and totals are
            then corrected by what the method gets wrong there, and have 95 % intervals.
        group: give means and totals by group too: a pattern with parentheses around what names
            the group of a picture, such as '(control|drug)_', looked for in its path below the
            folder that was named.
        no_pictures: mark no cells in pictures.
        also: also a file of points a picture for this program; may be repeated.
        excel: also counts.xlsx, a workbook with the tables as sheets, but for the points.
        device: one of auto, cpu, cuda or cuda:N.
        trust_weights: count with weights that are not the ones of the record.
        store: folder of runs/; the record's or the working one.
        display: where progress is shown; nowhere by default.

    Returns:
        Counts and points of the pictures, those counted before included.

    Raises:
        UserError: there is no such picture or run, it cannot be used, or an argument is invalid.
            Single pictures that cannot be counted do not raise, see `CountResult.refused`.
    """
    from cellbench.counting.count_options import (
        check_number,
        check_pictures,
        check_programs,
        check_range,
        check_text,
    )
    from cellbench.data.pixel_sizes import EDGES_UM, SCALES

    texts = {"--with": run, "--out": out, "--roi": roi, "--store": store, "--device": device}
    texts |= {"--channel": channel, "--page": page, "--project": project}
    for option, value in (texts | {"--annotated": annotated, "--group": group}).items():
        if value is not None:
            check_text(option, value)
    named, programs, ends = check_pictures(pictures), check_programs(also), check_range(range)
    scale = check_number("--scale", scale, SCALES)
    if um_per_px is not None:
        um_per_px = check_number("--um-per-px", um_per_px, EDGES_UM)

    from cellbench.counting.count_request import CountRequest
    from cellbench.counting.folder_count import count_pictures
    from cellbench.data.planes import PlaneChoice
    from cellbench.data.reader import ReadOptions
    from cellbench.engine.work_progress import Display

    request = CountRequest(
        pictures=named,
        recursive=recursive,
        reading=ReadOptions(PlaneChoice(channel=channel, page=page, project=project), ends, invert),
        run=None if run is None else str(run),
        store=store,
        device=device,
        trust_weights=trust_weights,
        scale=scale,
        um_per_px=um_per_px,
        out=Path(out),
        marked=not no_pictures,
        also=programs,
        excel=excel,
        regions=None if roi is None else Path(roi),
        annotated=annotated,
        group=group,
    )
    return CountResult(count_pictures(request, display or Display()))
