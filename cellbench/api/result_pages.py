"""Pages of results: the site of all records."""

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
        UserError: there is no such folder, or it holds something else or cannot be written.
    """
    from cellbench.ranking.leaderboards import find_stored_sets
    from cellbench.reports.site.site_build import build_site

    folders, _, _ = find_stored_sets(stores, None)
    return build_site(folders, Path(out), with_images=with_images)
