"""The lines of the longest tables, put together here: a site has tens of thousands of them."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from markupsafe import Markup

from cellbench.reports.site.charts import escaped


def image_rows(images: Iterable[Mapping[str, Any]]) -> Markup:
    """A line an image: its page, annotated and counted cells, absolute and signed error.

    Args:
        images: with `page`, `id`, `truth`, `signed` and `error`.
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
    """A line of what an experiment counted in one image.

    Args:
        status: of the experiment.
        slug: of its page.
        rank: None where it has none.
        method: its name.
        counted: cells.
        truth: annotated cells.
        error: mean absolute error of its runs.
    """
    return (
        f"{_count_head(status, slug, rank, method)}{counted:.1f}</a></td>"
        f'<td class="n">{counted - truth:+.2f}</td><td class="n">{error:.2f}</td></tr>'
    )


@cache
def _count_head(status: str, slug: str, rank: int | None, method: str) -> str:
    """What the lines of an experiment have in common."""
    page = f"../methods/{escaped(slug)}.html"
    return (
        f'<tr class="{escaped(status)}"><td class="n">{rank or "–"}</td>'
        f'<th scope="row"><a href="{page}">{escaped(method)}</a></th>'
        f'<td class="n"><a href="{page}#records">'
    )
