"""Build the site of one or several stores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cellbench.errors import UserError
from cellbench.ranking.errata import read_errata
from cellbench.ranking.published import published_file, read_published
from cellbench.reports.site.comparison_page import MOST_COMPARED, write_comparison_page
from cellbench.reports.site.experiment_pages import (
    method_slug,
    write_experiment_page,
    write_method_page,
)
from cellbench.reports.site.image_pages import is_public, pictures_of, write_image_pages
from cellbench.reports.site.kept_results import pairs_of, rows_by_split
from cellbench.reports.site.overview_page import write_overview
from cellbench.reports.site.page_writer import PageWriter
from cellbench.reports.site.ranked_tables import read_results
from cellbench.reports.site.set_page import errata_of, write_set_page


@dataclass(frozen=True, slots=True)
class BuiltSite:
    """Result of `build_site`.

    Attributes:
        folder: folder of the site; its first page is index.html.
        pages: number of pages.
        written: number of pages that were written; the others had not changed.
        problems: a sentence for every file that is not a usable record.
        private: datasets whose pictures are included and may not be redistributed.
    """

    folder: Path
    pages: int
    written: int
    problems: tuple[str, ...]
    private: tuple[str, ...]


def build_site(stores: Sequence[Path], out: Path, *, with_images: bool = False) -> BuiltSite:
    """Write the pages that have changed since the folder's last build.

    Args:
        stores: folders that contain leaderboards/.
        out: folder of the site; created if it does not exist.
        with_images: include pictures of datasets on disk whose licence is unknown.

    Raises:
        UserError: records cannot be read, or the folder contains other files or cannot be written.
    """
    writer = PageWriter.open(out)
    results = read_results(stores)
    private: list[str] = []
    try:
        errata = [read_errata(store) for store in stores]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}).") from error
    for table in results.tables:
        compared = table.ranked[:MOST_COMPARED]
        pairs = pairs_of(table, compared) if len(compared) > 1 else []
        write_set_page(writer, table, errata_of(errata, table.dataset))
        if len(compared) > 1:
            write_comparison_page(writer, table, compared, pairs)
        for experiment in table.experiments:
            write_experiment_page(writer, table, experiment)
        stored = pictures_of(table, with_images=with_images)
        if stored is not None and not is_public(stored):
            private.append(table.dataset)
        write_image_pages(writer, table, stored)
    for name, found in results.methods.items():
        write_method_page(writer, name, found)
    by_split = {dataset: rows_by_split(dataset, runs) for dataset, runs in results.runs.items()}
    names = [(name, method_slug(name)) for name in results.methods]
    published = read_published(published_file(stores[0]))
    write_overview(writer, results, by_split, published, names)
    writer.finish()
    return BuiltSite(
        folder=out,
        pages=len(writer.made),
        written=writer.written,
        problems=results.problems,
        private=tuple(dict.fromkeys(private)),
    )
