"""Page of a dataset: its protocol, its methods, and its images by difficulty."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cellbench.data.splits import PROTOCOLS
from cellbench.files.writing import safe_id
from cellbench.ranking.errata import ALL_SETS
from cellbench.ranking.people import people_rows
from cellbench.ranking.statistics import ImageErrors
from cellbench.ranking.tables import COLUMNS, SIMULATED, ranges
from cellbench.reports.site.charts import Dot, scatter
from cellbench.reports.site.page_writer import PageWriter
from cellbench.reports.site.ranked_tables import SetTable


def write_set_page(writer: PageWriter, table: SetTable, errata: Sequence[str]) -> None:
    """Write the page of a dataset under one protocol.

    Args:
        writer: page writer of the site.
        table: table of the dataset.
        errata: known errors in the dataset, one text each.
    """
    path = f"{table.folder}/index.html"
    smallest = smallest_difference(table)
    people = people_rows([table.dataset])
    known = [(e.shown, e.stamps) for e in table.experiments]
    if writer.is_current(path, (known, smallest, errata, people)):
        return
    listed = {id(e) for e in table.listed}
    images = hardest_images(table)
    dots = [
        Dot(each["truth"], each["error"], each["id"], f"images/{each['page']}.html")
        for each in images
    ]
    protocol = PROTOCOLS.get(table.protocol)
    judges = table.ranked or table.listed
    writer.write(
        path,
        "dataset.html",
        scripts=("tables.js",),
        table=table,
        simulated=SIMULATED,
        protocol_text=protocol.summary if protocol else "not known to this version of cellbench",
        word=table.errors.word,
        groups=len(set(table.errors.clusters)),
        cells=f"{table.errors.truth.sum():g}",
        splits=ranges(table.ranked[0].row.splits) if table.ranked else "",
        smallest=smallest,
        answer=first_ranked(table),
        people=people,
        compared=len(table.ranked) > 1,
        listed=table.listed,
        others=[e for e in table.experiments if id(e) not in listed],
        columns=[column for column in COLUMNS if column.level < 2],
        notes=list(
            dict.fromkeys(f"{e.row.method}: {e.row.note}" for e in table.listed if e.row.note)
        ),
        errata=errata,
        images=images,
        judges=len(judges),
        judged="ranked" if table.ranked else "listed",
        hardness=scatter(
            dots,
            title="Mean error of all methods against annotated cells",
            x="annotated cells",
            y="mean absolute error, cells",
        ),
    )


def first_ranked(table: SetTable) -> dict[str, Any] | None:
    """Summarise the best method on a dataset; None if no method is ranked.

    Returns:
        The `best` experiment and the `second` (None without one), how many others `share` the rank
        of the best, and the image with its largest error: `id`, `page`, `truth` and `counted`.
    """
    if not table.ranked:
        return None
    best, *others = table.ranked
    errors = table.ranked_errors
    column = int(np.nanargmax(errors.absolute[0]))
    truth = float(errors.truth[column])
    return {
        "best": best,
        "second": others[0] if others else None,
        "share": sum(e.row.rank == best.row.rank for e in others),
        "id": errors.image_ids[column],
        "page": safe_id(errors.image_ids[column]),
        "truth": truth,
        "counted": truth + float(errors.signed[0, column]),
    }


def hardest_images(table: SetTable) -> list[dict[str, Any]]:
    """List images by mean error of the ranked methods (else of all listed), the largest first.

    Returns:
        Per image its `id`, the name of its `page`, `truth`, `error` and `signed` error in cells.
    """
    return _hardest_first(_ordering_errors(table))


def unranked_images(table: SetTable) -> list[dict[str, Any]]:
    """List the images that only methods without a rank scored, as `hardest_images` does."""
    ranked = set(_ordering_errors(table).image_ids)
    return [image for image in _hardest_first(table.errors) if image["id"] not in ranked]


def _ordering_errors(table: SetTable) -> ImageErrors:
    return table.ranked_errors if table.ranked else table.errors


def _hardest_first(errors: ImageErrors) -> list[dict[str, Any]]:
    scored = np.isfinite(errors.absolute)
    times = np.maximum(scored.sum(axis=0), 1)
    absolute = np.where(scored, errors.absolute, 0).sum(axis=0) / times
    signed = np.where(scored, errors.signed, 0).sum(axis=0) / times
    found = {
        image_id: {
            "id": image_id,
            "page": safe_id(image_id),
            "truth": float(truth),
            "error": float(error),
            "signed": float(off),
        }
        for image_id, truth, error, off in zip(
            errors.image_ids, errors.truth, absolute, signed, strict=True
        )
    }
    return sorted(found.values(), key=lambda each: (-each["error"], each["id"]))


def smallest_difference(table: SetTable) -> str:
    """Describe the smallest difference in MAE that the images of a dataset can resolve."""
    found = (e.row.least_difference for e in table.ranked if e.row.least_difference is not None)
    least = next(found, None)
    if least is None:
        return "not known: too few ranked methods or images"
    return (
        f"{least:.1f} cells in MAE, the median over rows that follow each other (95 %, all pairs "
        "of the table). Rows that share a rank do not differ significantly on these images."
    )


def errata_of(stores: Sequence[Mapping[str, str]], dataset: str) -> list[str]:
    """List the known errors in a dataset, then in all datasets: one text per paragraph.

    Args:
        stores: per store the result of `read_errata`.
        dataset: dataset name.
    """
    bodies = [known.get(name, "") for name in (dataset, ALL_SETS) for known in stores]
    parts = re.split(r"\n\s*\n|\n(?=#|[-*] )", "\n\n".join(bodies))
    return [
        re.sub(r"^[-*]\s+|[`*]", "", part.strip())
        for part in parts
        if part.strip() and not part.startswith("#")
    ]
