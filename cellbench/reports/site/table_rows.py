"""HTML rows of the longest tables, built without templates: a site has tens of thousands."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from markupsafe import Markup

from cellbench.reports.site.charts import escaped


def image_rows(images: Iterable[Mapping[str, Any]]) -> Markup:
    """Return a row per image: its link, annotated and counted cells, absolute and signed error.

    Args:
        images: mappings with `page`, `id`, `truth`, `signed` and `error`.
    """
    lines = [
        f'<tr><th scope="row"><a href="../images/{escaped(image["page"])}.html">'
        f"{escaped(image['id'])}</a></th>"
        f'<td class="n">{image["truth"]:g}</td>'
        f'<td class="n">{image["truth"] + image["signed"]:.1f}</td>'
        f'<td class="n">{image["error"]:.2f}</td>'
        f'<td class="n">{image["signed"]:+.2f}</td></tr>'
        for image in images
    ]
    return Markup("\n".join(lines))


def count_row(
    status: str, slug: str, rank: int | None, method: str, *, counted: float, truth: float,
    error: float,
) -> str:  # fmt: skip
    """Return the row of an experiment in the table of one image.

    Args:
        status: status of the experiment.
        slug: name of its page.
        rank: None if it has none.
        method: name of the method.
        counted: counted cells, mean over its runs.
        truth: annotated cells.
        error: mean absolute error of its runs.
    """
    return (
        f"{_count_head(status, slug, rank, method)}{counted:.1f}</a></td>"
        f'<td class="n">{counted - truth:+.2f}</td><td class="n">{error:.2f}</td></tr>'
    )


@cache
def _count_head(status: str, slug: str, rank: int | None, method: str) -> str:
    """Return the start of a row, which is the same for all images."""
    page = f"../methods/{escaped(slug)}.html"
    return (
        f'<tr class="{escaped(status)}"><td class="n">{rank or "–"}</td>'
        f'<th scope="row"><a href="{page}">{escaped(method)}</a></th>'
        f'<td class="n"><a href="{page}#records">'
    )
