"""Pages of images: what every method counted in one, and where."""

import base64
import io
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
from cellbench.reports.site.set_page import hardest_images
from cellbench.reports.site.table_rows import count_row
from cellbench.structures import Points

# Of more methods than this the page of an image has the counts and not the places.
MOST_DRAWN = 40
# A picture is embedded in its page as it is up to this size, and as a JPEG of this side above.
_MOST_PICTURE_BYTES = 700_000
_MOST_SIDE_PX = 1400

_TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}


@dataclass(frozen=True, slots=True)
class _Count:
    """What an experiment counted in an image, mean over its runs, and its absolute error."""

    experiment: Experiment
    counted: float
    absolute: float

    def line(self, truth: float) -> str:
        """Its line of the table."""
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


def pictures_of(table: SetTable, *, with_images: bool) -> StoredSet | None:
    """The set whose pictures and annotated places may be shown.

    Args:
        table: of the set.
        with_images: whether also pictures that may not be passed on are shown.

    Returns:
        None where they may not be shown, are not on disk, or are of another revision.
    """
    if not is_on_disk(table.dataset):
        return None
    stored = open_set(table.dataset)
    revisions = {run.manifest_hash for e in table.listed for run in e.runs}
    if revisions != {stored.manifest_hash} or not (with_images or is_public(stored)):
        return None
    return stored


def is_public(stored: StoredSet) -> bool:
    """Whether a set may be passed on: it is drawn by a simulator, or shipped with a plugin."""
    from cellbench import paths

    own = paths.data_folder(stored.name).resolve()
    return stored.simulated or stored.folder.resolve() != own


def write_image_pages(writer: PageWriter, table: SetTable, stored: StoredSet | None) -> None:
    """Write a page for every image that a listed experiment scored.

    Args:
        writer: of the site.
        table: of the set.
        stored: whose pictures and annotated places are shown; None for none.
    """
    images = hardest_images(table)
    known = {each["id"] for each in images}
    images += [
        {"id": image_id, "page": None, "truth": 0.0, "error": 0.0, "signed": 0.0}
        for image_id in table.errors.image_ids
        if image_id not in known
    ]
    columns = {image_id: index for index, image_id in enumerate(table.errors.image_ids)}
    drawn = [e for e in table.listed if e.runs[0].metrics.get("f1") is not None][:MOST_DRAWN]
    stamps = _stamps_by_image(drawn)
    digest = None if stored is None else stored.manifest_hash
    pages = [each for each in images if each["page"]]
    missing = []
    for place, each in enumerate(pages):
        around = [pages[i]["page"] if 0 <= i < len(pages) else "" for i in (place - 1, place + 1)]
        path = f"{table.folder}/images/{each['page']}.html"
        image_id, truth = each["id"], each["truth"]
        column = columns[image_id]
        signed, absolute = table.errors.signed[:, column], table.errors.absolute[:, column]
        counts = [
            _Count(e, truth + off, error)
            for e, off, error in zip(table.listed, signed.tolist(), absolute.tolist(), strict=True)
            if error == error
        ]
        lines = "\n".join(count.line(truth) for count in counts)
        made_from = (image_id, truth, place, len(pages), around, lines)
        if not writer.is_current(path, (made_from, stamps.get(image_id), digest)):
            missing.append((path, place, each, around, counts, lines))
    places = _places(drawn, [each["id"] for _, _, each, *_ in missing]) if missing else {}
    clusters = dict(zip(table.errors.image_ids, table.errors.clusters, strict=True))
    for path, place, each, around, counts, lines in missing:
        data = _drawing(each["id"], drawn, places, counts, stored)
        cluster = clusters[each["id"]]
        writer.write(
            path,
            "image.html",
            scripts=("tables.js", "svg.js", "image.js"),
            data=data,
            id=each["id"],
            table=table,
            truth=each["truth"],
            group=cluster if cluster != each["id"] else "",
            word=table.errors.word,
            place=_ordinal(place + 1),
            of=len(pages),
            before=around[0],
            after=around[1],
            private=stored is not None and not is_public(stored),
            has_truth=data["truth"] is not None,
            has_picture=data["picture"] is not None,
            size=data["size"],
            counts=Markup(lines),
        )


def _stamps_by_image(experiments: Sequence[Experiment]) -> dict[str, list[tuple[str, str]]]:
    """By image the records from which places may be drawn."""
    found: dict[str, list[tuple[str, str]]] = {}
    for experiment in experiments:
        for run, stamp in zip(experiment.runs, experiment.stamps, strict=True):
            for image_id in run.image_ids:
                found.setdefault(image_id, []).append(stamp)
    return found


def _places(
    experiments: Sequence[Experiment], image_ids: Sequence[str]
) -> dict[tuple[str, str], Points]:
    """By experiment and image the places that the first run found that scored the image."""
    found: dict[tuple[str, str], Points] = {}
    for experiment in experiments:
        wanted = set(image_ids)
        for run in experiment.runs:
            own = wanted.intersection(run.image_ids)
            if not own or run.path is None:
                continue
            record = record_of(run.path)
            if record is None:
                continue
            try:
                lists = read_points(run.path, record.raw)
            except UserError:  # the table has its counts; `leaderboard --check` names the fault
                continue
            found |= {(experiment.slug, i): lists[i][0] for i in own if i in lists}
            wanted -= own
    return found


def _drawing(
    image_id: str,
    experiments: Sequence[Experiment],
    places: Mapping[tuple[str, str], Points],
    counts: Sequence["_Count"],
    stored: StoredSet | None,
) -> dict[str, Any]:
    """What the page's program draws, see assets/image.js."""
    shown = {count.experiment.slug: f"{count.counted:.1f}" for count in counts}
    own = [(e, places[e.slug, image_id]) for e in experiments if (e.slug, image_id) in places]
    truth = picture = None
    if stored is not None:
        sample = stored.sample(image_id)
        size, truth = sample.size, sample.points
        picture = _embedded(stored, image_id)
    else:
        ends = [points.max(axis=0) for _, points in own if len(points)]
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
                "count": shown[e.slug],
                "points": packed_points(points, step),
            }
            for e, points in own
            if e.slug in shown
        ],
    }


def packed_points(points: NDArray[np.floating[Any]], step: float) -> str:
    """Points as base64 of little-endian uint16, x and y in turn, in steps of so many px.

    Args:
        points: (N, 2), (x, y) px; what is outside 0 to 65535 steps is put on the border.
        step: px.
    """
    steps = np.clip(np.rint(np.asarray(points, dtype=np.float64) / step), 0, 65535)
    return base64.b64encode(steps.astype("<u2").tobytes()).decode("ascii")


def _embedded(stored: StoredSet, image_id: str) -> str:
    """The picture of an image as an address that holds it."""
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
