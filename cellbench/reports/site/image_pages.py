"""Image pages: every method's count and predicted points in an image."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cellbench.data.stored_set import StoredSet, is_on_disk, open_set
from cellbench.errors import UserError
from cellbench.ranking.tables import plain
from cellbench.records.point_lists import read_points
from cellbench.reports.site.page_writer import PageWriter
from cellbench.reports.site.ranked_tables import Experiment, SetTable, record_of
from cellbench.reports.site.set_page import hardest_images, unranked_images
from cellbench.reports.site.table_rows import count_row
from cellbench.structures import Points

# Most methods whose points are on the page of an image; the others have only their counts.
MOST_DRAWN = 40
# A PNG or JPEG up to this size is embedded unchanged; other pictures as a JPEG of this side.
_MOST_PICTURE_BYTES = 700_000
_MOST_SIDE_PX = 1400

_TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}


@dataclass(frozen=True, slots=True)
class _Count:
    """Count of an experiment in an image, mean over its runs, and its absolute error."""

    experiment: Experiment
    counted: float
    absolute: float

    def line(self, truth: float) -> str:
        """Return its row of the table as HTML."""
        e = self.experiment
        return count_row(
            e.status,
            e.slug,
            e.row.rank,
            e.row.method,
            counted=self.counted,
            truth=truth,
            error=self.absolute,
        )


@dataclass(frozen=True, slots=True)
class _PendingPage:
    """Page of an image that is not up to date.

    Attributes:
        path: path of the page below the site's folder.
        image_id: id of the image.
        truth: annotated cells.
        place: rank of the image by the mean error of ranked methods (of all listed ones if none is
            ranked), 1 for the hardest; None if none of them scored it.
        of: number of images that these methods scored.
        before: name of the page of the next harder image; empty for none.
        after: name of the page of the next easier image; empty for none.
        counts: counts of the experiments that scored the image.
        rows: the counts as the rows of an HTML table.
    """

    path: str
    image_id: str
    truth: float
    place: int | None
    of: int
    before: str
    after: str
    counts: Sequence[_Count]
    rows: str


def pictures_of(table: SetTable, *, with_images: bool) -> StoredSet | None:
    """Return the dataset on disk if its pictures and annotations may be shown.

    Args:
        table: table of the dataset.
        with_images: whether pictures that may not be redistributed are shown, too.

    Returns:
        None if they may not be shown, are not on disk, or are of another revision.
    """
    if not is_on_disk(table.dataset):
        return None
    stored = open_set(table.dataset)
    revisions = {run.manifest_hash for e in table.listed for run in e.runs}
    if revisions != {stored.manifest_hash} or not (with_images or is_public(stored)):
        return None
    return stored


def is_public(stored: StoredSet) -> bool:
    """Whether a dataset may be redistributed: it is simulated, or shipped with a plugin."""
    from cellbench import paths

    downloaded = paths.data_folder(stored.name).resolve()
    return stored.simulated or stored.folder.resolve() != downloaded


def write_image_pages(writer: PageWriter, table: SetTable, stored: StoredSet | None) -> None:
    """Write the pages of a dataset's images that are not up to date.

    Args:
        writer: page writer of the site.
        table: table of the dataset.
        stored: dataset whose pictures and annotations are shown; None for none.
    """
    drawn = [e for e in table.listed if e.runs[0].metrics.get("f1") is not None][:MOST_DRAWN]
    pending = _pending_pages(writer, table, drawn, stored)
    # The points are read once for all pages: a record has those of many images.
    points = _places(drawn, [page.image_id for page in pending])
    clusters = dict(zip(table.errors.image_ids, table.errors.clusters, strict=True))
    for page in pending:
        data = _drawing(page.image_id, drawn, points, page.counts, stored)
        cluster = clusters[page.image_id]
        writer.write(
            page.path,
            "image.html",
            scripts=("tables.js", "svg.js", "image.js"),
            data=data,
            id=page.image_id,
            table=table,
            truth=page.truth,
            group=cluster if cluster != page.image_id else "",
            word=table.errors.word,
            place=None if page.place is None else _ordinal(page.place),
            of=page.of,
            before=page.before,
            after=page.after,
            private=stored is not None and not is_public(stored),
            has_truth=data["truth"] is not None,
            has_picture=data["picture"] is not None,
            size=data["size"],
            counts=Markup(page.rows),
        )


def _pending_pages(
    writer: PageWriter, table: SetTable, drawn: Sequence[Experiment], stored: StoredSet | None
) -> list[_PendingPage]:
    """List the pages that are not up to date, the hardest image first, those without rank last."""
    ranked = hardest_images(table)
    images = [*ranked, *unranked_images(table)]
    names = ["", *(image["page"] for image in images), ""]
    columns = {image_id: index for index, image_id in enumerate(table.errors.image_ids)}
    stamps = _stamps_by_image(drawn)
    digest = None if stored is None else stored.manifest_hash
    pending = []
    for index, image in enumerate(images):
        image_id, truth = image["id"], image["truth"]
        path = f"{table.folder}/images/{image['page']}.html"
        before, after = names[index], names[index + 2]
        counts = _counts(table, columns[image_id], truth)
        rows = "\n".join(count.line(truth) for count in counts)
        place = index + 1 if index < len(ranked) else None
        shown = (image_id, truth, place, len(ranked), [before, after], rows)
        if not writer.is_current(path, (shown, stamps.get(image_id), digest)):
            pending.append(
                _PendingPage(
                    path=path,
                    image_id=image_id,
                    truth=truth,
                    place=place,
                    of=len(ranked),
                    before=before,
                    after=after,
                    counts=counts,
                    rows=rows,
                )
            )
    return pending


def _counts(table: SetTable, column: int, truth: float) -> list[_Count]:
    """Return the counts of the listed experiments that scored an image.

    Args:
        table: table of the dataset.
        column: column of the image in `table.errors`.
        truth: annotated cells.
    """
    signed, absolute = table.errors.signed[:, column], table.errors.absolute[:, column]
    return [
        _Count(e, truth + off, error)
        for e, off, error in zip(table.listed, signed.tolist(), absolute.tolist(), strict=True)
        if not math.isnan(error)
    ]


def _stamps_by_image(experiments: Sequence[Experiment]) -> dict[str, list[tuple[str, str]]]:
    """Return by image the stamps of the records that its points may come from."""
    found: dict[str, list[tuple[str, str]]] = {}
    for experiment in experiments:
        for run, stamp in zip(experiment.runs, experiment.stamps, strict=True):
            for image_id in run.image_ids:
                found.setdefault(image_id, []).append(stamp)
    return found


def _places(
    experiments: Sequence[Experiment], image_ids: Sequence[str]
) -> dict[tuple[str, str], Points]:
    """Read the points of the first run that scored an image, by experiment slug and image id."""
    found: dict[tuple[str, str], Points] = {}
    for experiment in experiments:
        wanted = set(image_ids)
        for run in experiment.runs:
            scored = wanted.intersection(run.image_ids)
            if not scored or run.path is None:
                continue
            record = record_of(run.path)
            if record is None:
                continue
            try:
                lists = read_points(run.path, record.raw)
            except UserError:  # counts are still shown; `leaderboard --check` reports the error
                continue
            found |= {(experiment.slug, i): lists[i][0] for i in scored if i in lists}
            wanted -= scored
    return found


def _drawing(
    image_id: str,
    experiments: Sequence[Experiment],
    places: Mapping[tuple[str, str], Points],
    counts: Sequence[_Count],
    stored: StoredSet | None,
) -> dict[str, Any]:
    """Return the data that assets/image.js draws."""
    counted = {count.experiment.slug: f"{count.counted:.1f}" for count in counts}
    located = [(e, places[e.slug, image_id]) for e in experiments if (e.slug, image_id) in places]
    truth = picture = None
    if stored is not None:
        sample = stored.sample(image_id)
        size, truth = sample.size, sample.points
        picture = _embedded(stored, image_id)
    else:
        ends = [points.max(axis=0) for _, points in located if len(points)]
        extent = np.ceil(np.max(ends, axis=0)) if ends else np.array([100.0, 100.0])
        size = (max(1, int(extent[0])), max(1, int(extent[1])))
    step = max(1 / 8, max(size) / 60_000)
    return {
        "size": size,
        "step": step,
        "truth": None if truth is None else packed_points(truth, step),
        "picture": picture,
        "methods": [
            {
                "name": plain(e.row.method),
                "slug": e.slug,
                "count": counted[e.slug],
                "points": packed_points(points, step),
            }
            for e, points in located
            if e.slug in counted
        ],
    }


def packed_points(points: NDArray[np.floating[Any]], step: float) -> str:
    """Encode points as base64 of little-endian uint16: x, y, x, y, ... in steps.

    Args:
        points: (N, 2), (x, y) px; clipped to 0 to 65535 steps.
        step: size of a step in px.
    """
    steps = np.clip(np.rint(np.asarray(points, dtype=np.float64) / step), 0, 65535)
    return base64.b64encode(steps.astype("<u2").tobytes()).decode("ascii")


def _embedded(stored: StoredSet, image_id: str) -> str:
    """Return the picture of an image as a data URL."""
    from PIL import Image

    from cellbench.files.limits import FILE
    from cellbench.files.reading import read_file

    entry = stored.entry(image_id)
    file = stored.folder / entry.image
    kind = _TYPES.get(Path(entry.image).suffix.lower())
    if kind is not None and file.stat().st_size <= _MOST_PICTURE_BYTES:
        data = read_file(file, most=FILE.size)
    else:
        picture = Image.fromarray(stored.pixels(image_id))
        picture.thumbnail((_MOST_SIDE_PX, _MOST_SIDE_PX))
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=88)
        data, kind = stream.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _ordinal(number: int) -> str:
    if number == 1:
        return "hardest"
    end = {1: "st", 2: "nd", 3: "rd"}.get(
        number % 10 if number % 100 not in (11, 12, 13) else 0, "th"
    )
    return f"{number}{end} hardest"
