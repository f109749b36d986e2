"""`cellbench.site` and `cellbench.report`: pages of all results, and of one comparison."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellbench.reports.site.site_build import BuiltSite


def site(
    out: str | Path = "site", *, with_images: bool = False, stores: Sequence[str] = ()
) -> "BuiltSite":
    """Write a site of all results: pages that open from a folder, made from records alone.

    Its first page is OUT/index.html; no server and no network is needed. A page that was made
    before from the same records is left as it is.

    Args:
        out: folder of the site.
        with_images: also show the pictures of sets that are on disk here and may not be passed on;
            their pages say so.
        stores: folder of leaderboards/; the working one by default. Given again, its records are
            shown too.

    Returns:
        The folder, and how many pages it has and were written.

    Raises:
        UserError: there is no such folder, or `out` holds other files or cannot be written.
    """
    from cellbench.ranking.leaderboards import find_stored_sets
    from cellbench.reports.site.site_build import build_site

    folders, _, _ = find_stored_sets(stores, None)
    return build_site(folders, Path(out), with_images=with_images)


def report(
    grid: str = "components",
    *,
    out: str | Path = "report",
    datasets: Sequence[str] = (),
    splits: Sequence[int] = (),
    seeds: Sequence[int] = (),
    protocol: str | None = None,
    store: str | None = None,
) -> list[Path]:
    """Write a comparison for a paper: one HTML page, and the same numbers as LaTeX.

    GRID is what `cellbench compare` takes; the runs of it that are finished are reported, with
    intervals, tests, versions and the sentence that describes the protocol. Nothing is trained.

    Args:
        grid: name or file.
        out: folder of the report.
        datasets: such as adi,vgg; the grid's by default.
        splits: such as 0-4 or 0,2; the grid's by default.
        seeds: such as 0-2; the grid's by default.
        protocol: splits and selection rule; the grid's by default.
        store: folder of leaderboards/; the working one by default.

    Returns:
        The HTML page and the LaTeX file.

    Raises:
        UserError: there is no such grid, none of its runs is finished, or the folder cannot be
            written.
    """
    from cellbench import paths
    from cellbench.reports.site.grid_report import ReportPart, write_grid_report
    from cellbench.sweeps.combinations import GridOverrides
    from cellbench.sweeps.grid_files import load_grid
    from cellbench.sweeps.grid_run import finished_part
    from cellbench.sweeps.plan import make_plan

    grid_overrides = GridOverrides(
        datasets=tuple(datasets),
        splits=tuple(splits),
        seeds=tuple(seeds),
        protocol=protocol or "",
    )
    plan = make_plan(load_grid(grid), grid_overrides, paths.store(store).absolute())
    parts = [
        ReportPart(part.grid.name, part.grid.title, part.grid.layout, finished_part(part).done)
        for part in plan.parts
    ]
    return write_grid_report(Path(out), plan.grid.name, parts)
