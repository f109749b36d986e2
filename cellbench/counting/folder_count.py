"""Count the cells of pictures into a folder: tables, marked pictures, points for other programs."""

import errno
import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbench.counting.annotated_pictures import (
    also_annotated,
    check_range_fits,
    check_some_left,
    count_annotated,
)
from cellbench.counting.count_exports import Exporter
from cellbench.counting.count_intervals import learned_intervals
from cellbench.counting.count_rows import Counted, shown_name
from cellbench.counting.count_tables import COUNTS, CountTables
from cellbench.counting.experiment_means import (
    GroupMeans,
    KnownPicture,
    group_means,
    write_group_means,
)
from cellbench.counting.overlapped import WriteBehind, read_ahead
from cellbench.counting.picture_list import Skipped, list_pictures
from cellbench.counting.region_counts import RegionCount, count_regions, write_regions
from cellbench.counting.unlike_training import TOO_NARROW, differences, doubts, known_summary
from cellbench.data.appearance import Appearance, measure_appearance
from cellbench.data.large import LargePicture, full_size, open_picture
from cellbench.data.own_sets.groups import groups_by_pattern
from cellbench.data.reader import RULE, ReadOptions
from cellbench.data.stored_set import open_set
from cellbench.engine.work_progress import Advance, Display
from cellbench.errors import UserError
from cellbench.files.limits import FILE, PICTURE
from cellbench.files.locks import hold
from cellbench.files.writing import sha256_file
from cellbench.metrics.prediction_intervals import CountIntervals
from cellbench.records.kept_models import DEFAULT
from cellbench.records.trained_runs import find_trained, unbound_notice
from cellbench.structures import Prediction

# Pictures that are compared with those of the training.
_MOST_LOOKS = 10

if TYPE_CHECKING:
    from cellbench.counting.trained_counter import TrainedCounter
    from cellbench.records.trained_runs import TrainedRun


@dataclass(frozen=True, slots=True)
class FolderCount:
    """The pictures that a call of `count_pictures` was given.

    Attributes:
        folder: of the tables.
        counted: pictures with a count, in the order given, those counted before too.
        refused: a sentence for every picture that could not be counted.
        skipped: name and reason of every file that was not counted, those of `refused` too.
        given: how many pictures there were.
        run: that counted them.
        regions: cells of every region, where regions were named.
        warnings: in what the pictures that were counted now differ from those of the training, and
            other doubts, one sentence each.
        estimates: means and totals of all pictures and of groups; empty where none was asked for.
    """

    folder: Path
    counted: tuple[Counted, ...]
    refused: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    given: int
    run: "TrainedRun"
    regions: tuple[RegionCount, ...] = ()
    warnings: tuple[str, ...] = ()
    estimates: tuple[GroupMeans, ...] = ()


def count_pictures(
    pictures: Sequence[str | Path],
    run: str | None,
    *,
    out: Path,
    scale: float,
    um_per_px: float | None,
    marked: bool,
    also: Sequence[str],
    device: str,
    trust_weights: bool,
    store: str | None,
    display: Display,
    reading: ReadOptions,
    recursive: bool,
    regions: Path | None,
    annotated: str | None,
    group: str | None,
) -> FolderCount:
    """Count pictures that the tables of a folder do not have yet.

    Args:
        pictures: files, and folders of them.
        run: folder, record or id of a finished run, or name of a kept model; None for the one
            that comes with cellbench.
        out: folder of the tables.
        scale: px that a cell should have per px that it has.
        um_per_px: edge of a pixel, micrometres.
        marked: whether pictures are written with their cells marked.
        also: keys of `WRITERS`.
        device: "auto", "cpu", "cuda", ...
        trust_weights: take weights of another hash than the record's.
        store: folder of `runs/`.
        display: where progress is shown.
        reading: how pictures are read.
        recursive: whether folders within folders are looked into.
        regions: file or folder of regions whose cells are counted apart.
        annotated: name of a set of pictures of the same experiment that people annotated.
        group: pattern with parentheses around what names the group of a picture, looked for in its
            path below the folder that was named.

    Raises:
        UserError: there is no such picture or run, it cannot be used, or the folder holds other
            counts or cannot be written. One picture that cannot be counted stops no others.
    """
    listed = list_pictures(pictures, recursive=recursive, without=out)
    files = {shown_name(path): path for path in listed.pictures}
    if len(files) < len(set(listed.pictures)):
        twice = next(p for p in listed.pictures if files[shown_name(p)] != p)
        raise UserError(
            f"Two pictures are called {shown_name(twice)!r} but for signs that tables cannot have; "
            "rename one of them."
        )
    below = {shown_name(path): inside for path, inside in listed.below.items()}
    if regions is not None and not regions.exists():
        raise UserError(f"There are no regions {str(regions)!r}; name a file or folder with --roi.")
    # What would stop the estimates stops before anything is counted.
    people = None if annotated is None else open_set(annotated)
    if people is not None:
        check_range_fits(people, reading)
    if group is not None:
        groups_by_pattern(group, [*below.values(), *(() if people is None else people.ids)])
    trained = find_trained(DEFAULT if run is None else run, store)
    annotated_too = {} if people is None else also_annotated(people, files, reading)
    left_out = [] if people is None else check_some_left(people, trained, files, annotated_too)
    refused: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for name, path in files.items():
        try:
            hashes[name] = sha256_file(path)
        except OSError as error:
            mend = FILE.mend if error.errno == errno.EFBIG else "see its rights"
            refused[name] = f"{name} cannot be opened ({error.strerror}); {mend}."
    # A run that is refused leaves no tables behind; those that are there may need no counting.
    load = functools.cache(lambda: _load(trained, device, trust_weights, display))
    if hashes and not (out / COUNTS).exists():
        load()
    keys = ("run_id", "method", "dataset", "protocol", "split", "seed", "thresholds")
    method = {key: trained.record[key] for key in keys}
    if "calibration" in trained.record:
        method["calibration"] = trained.record["calibration"]
    method |= {"mae": trained.record["metrics"]["mae"], "scale": scale, "um_per_px": um_per_px}
    method["reading"] = {"rule": RULE, **asdict(reading)}
    busy = f"Another process is counting into {out}; wait for it, or name another --out."
    with hold(out, elsewhere="--out", busy=busy):
        if trust_weights and (digest := sha256_file(trained.weights)) != trained.weights_sha256:
            method["trusted_weights"] = digest
        tables = CountTables(out, method, hashes)
        exporter = Exporter(out, marked, also, reading)
        known = {name: files[name] for name in hashes if name in tables.done}
        if known:
            exporter.write_missing(tables, known)
        areas: dict[str, int] = {}
        looks: list[Appearance] = []
        for name in (name for name in hashes if name not in known):
            try:
                width, height = full_size(files[name], reading)
                areas[name] = width * height
            except UserError as error:
                refused[name] = str(error)
        if areas:
            counter, intervals = load(), learned_intervals(trained)

            def read(name: str) -> Any:
                picture = open_picture(files[name], reading, factor=counter.input_scale * scale)
                if len(looks) < _MOST_LOOKS and not isinstance(picture.pixels, LargePicture):
                    looks.append(measure_appearance(picture.pixels))
                return picture

            def write(counted: Counted, found: Prediction, path: Path, pixels: Any) -> None:
                exporter.write(counted, tables.add(counted, found), path, pixels)

            total = sum(areas.values())
            with display.task("counting", total) as advance, WriteBehind() as write_behind:
                for name, picture_of in read_ahead(read, areas):
                    try:
                        picture = picture_of()
                        found = _count_picture(counter, picture, name, scale, advance)
                    except UserError as error:
                        refused[name] = str(error)
                        advance(areas[name])
                        continue
                    counted = _line(name, hashes[name], picture, found, um_per_px, intervals)
                    write_behind(write, counted, found, files[name], picture.pixels)
        skipped = _skipped(listed.skipped, refused)
        done_before = tuple(tables.done[name] for name in files if name in tables.done)
        by_region: list[RegionCount] = []
        if regions is not None:
            cells = tables.found([one.image for one in done_before])
            by_region, without = count_regions(done_before, cells, files, regions)
            write_regions(out, by_region)
            skipped += without
            refused |= {f"{name} (regions)": f"{name}: {why}" for name, why in without}
        tables.write_skipped(skipped)
        estimates: list[GroupMeans] = []
        if people is not None or group is not None:
            counts = {one.image: one.count for one in done_before}
            known_counts: list[KnownPicture] = []
            if people is not None:
                known_counts = count_annotated(
                    people, trained, load, scale=scale, reading=reading, display=display
                )
                counts = {name: n for name, n in counts.items() if name not in annotated_too}
            estimates = group_means(counts, known_counts, group, below)
            write_group_means(out, estimates)
    warnings = doubts(trained.record, list({c.sha256: c.count for c in done_before}.values()))
    if looks:
        unlike = differences(known_summary(trained.record), looks, scale=scale)
        if unlike and any(one.interval is not None for one in done_before):
            unlike = [*unlike, TOO_NARROW]
        warnings += unlike
    unread = [f"{shown_name(one.path)}: {one.reason}." for one in listed.skipped if one.picture]
    return FolderCount(
        out,
        done_before,
        (*refused.values(), *unread),
        tuple(skipped),
        len(files) + len(unread),
        trained,
        tuple(by_region),
        (*left_out, *warnings),
        tuple(estimates),
    )


def _skipped(listed: Sequence[Skipped], refused: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names and reasons of all files that were not counted."""
    return [*refused.items(), *((shown_name(one.path), one.reason) for one in listed)]


def _line(
    name: str,
    sha256: str,
    picture: Any,
    found: Prediction,
    um_per_px: float | None,
    intervals: CountIntervals | None,
) -> Counted:
    """The line of a picture in the table."""
    step = getattr(picture.pixels, "downsample", 1.0)
    height, width = (round(edge * step) for edge in picture.pixels.shape[:2])
    notes, size_um = list(picture.notes), picture.pixel_size_um
    edge = um_per_px
    if size_um is not None:
        stated = (size_um[0] * size_um[1]) ** 0.5
        if edge is None:
            edge = stated
        elif abs(edge / stated - 1) > 0.02:
            notes.append(f"its file states {stated:.4g} µm a pixel")
    per_mm2 = None if edge is None else found.count / (height * width * edge**2) * 1e6
    points = None if found.points is None else len(found.points)
    interval = None
    if intervals is not None:
        (low,), (high,) = intervals.of([found.count])
        interval = float(low), float(high)
    return Counted(
        name,
        found.count,
        per_mm2,
        (width, height),
        points,
        sha256,
        range=picture.range,
        um_per_px=edge,
        notes="; ".join(notes),
        interval=interval,
    )


def _count_picture(
    counter: "TrainedCounter", picture: Any, name: str, scale: float, advance: Advance
) -> Prediction:
    """Count the cells of a picture; `advance` takes how many px are done."""
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    if isinstance(pixels, LargePicture) and counter.transforms:
        raise UserError(
            f"{name} has {width}x{height} px, which is read in tiles, and this method prepares "
            f"pictures as a whole; cut it into pieces, or {PICTURE.mend}."
        )
    step = pixels.downsample if isinstance(pixels, LargePicture) else 1.0
    area = width * height * step**2
    found = counter.count(
        pixels, scale=scale * step, name=name, progress=lambda share: advance(share * area)
    )
    if step == 1.0 or found.points is None:
        return found
    return replace(found, points=(found.points * step).astype(np.float32))


def _load(
    run: "TrainedRun", device: str, trust_weights: bool, display: Display
) -> "TrainedCounter":
    """Load the run's method; a sentence is shown where its weights could not be checked."""
    with display.status("Loading torch"):
        from cellbench.counting.trained_counter import load_counter
    counter = load_counter(run, device=device, trust_weights=trust_weights)
    if notice := unbound_notice(run.record):
        display.say(notice)
    return counter
