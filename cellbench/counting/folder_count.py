"""Count the cells of pictures into a folder: tables, marked pictures, points for other programs."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbench.counting.annotated_pictures import (
    check_pictures_left,
    check_range_fits,
    count_annotated,
    match_to_set,
)
from cellbench.counting.count_exports import Exporter
from cellbench.counting.count_request import CountRequest
from cellbench.counting.count_rows import Counted, shown_name
from cellbench.counting.count_tables import COUNTS, CountTables
from cellbench.counting.count_workbook import WORKBOOK, write_workbook
from cellbench.counting.doubt_sentences import table_warnings
from cellbench.counting.experiment_means import (
    GroupMeans,
    KnownPicture,
    annotated_paths,
    group_means,
    write_group_means,
)
from cellbench.counting.given_pictures import GivenPictures, given_pictures, unpacked
from cellbench.counting.learned_pictures import held_out
from cellbench.counting.one_picture import count_picture, line_of
from cellbench.counting.overlapped import write_behind
from cellbench.counting.region_counts import RegionCount, count_regions, write_regions
from cellbench.counting.unlike_training import (
    TOO_NARROW,
    appearance_warnings,
    known_summary,
    run_warnings,
)
from cellbench.counting.view_session import refresh_corrected_tables
from cellbench.data.appearance import Appearance, measure_appearance
from cellbench.data.large import LargePicture, OpenedPicture, Pixels, full_size, open_picture
from cellbench.data.own_sets.groups import groups_by_pattern
from cellbench.data.pipeline import prefetch
from cellbench.data.planes import PlaneChoice, SeveralPlanesError, selects_every_plane
from cellbench.data.reader import INTENSITY_RULE, ReadOptions
from cellbench.data.stored_set import StoredSet, open_set
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.files.locks import hold_folder
from cellbench.files.writing import sha256_file
from cellbench.metrics.prediction_intervals import count_intervals
from cellbench.records.expected_error import held_out_counts
from cellbench.records.kept_models import DEFAULT
from cellbench.records.trained_runs import TrainedRun, find_trained, unbound_notice
from cellbench.structures import Prediction

# Number of pictures that are compared with those of the training.
_MOST_COMPARED = 10
# Keys of the run's record that are part of the settings of a table.
_RECORD_KEYS = ("run_id", "method", "dataset", "protocol", "split", "seed", "thresholds")

if TYPE_CHECKING:
    from cellbench.counting.trained_counter import TrainedCounter


@dataclass(frozen=True, slots=True)
class FolderCount:
    """Result of `count_pictures`.

    Attributes:
        folder: folder of the tables.
        counted: pictures with a count, in the order given, those counted before included.
        refused: a sentence for each picture that could not be counted.
        skipped: name and reason of each file that was not counted, those of `refused` included.
        given: number of pictures given.
        run: the run that counted them.
        regions: cells of each region; empty if no regions were given.
        warnings: one sentence for each difference from the training pictures and other doubt.
        estimates: means and totals of all pictures and of groups; empty if none were requested.
    """

    folder: Path
    counted: tuple[Counted, ...]
    refused: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    given: int
    run: TrainedRun
    regions: tuple[RegionCount, ...] = ()
    warnings: tuple[str, ...] = ()
    estimates: tuple[GroupMeans, ...] = ()


@dataclass(frozen=True, slots=True)
class _Experiment:
    """Annotated pictures of the experiment.

    Attributes:
        people: the annotated set; None if none was given.
        among: ids of the pictures of the request that are in the set, by name.
        judged: ids of the set's pictures that the run was not trained on.
        left_out: a sentence on the pictures of the request that the run was trained on.
        below: text that a group pattern is searched in, by id.
    """

    people: StoredSet | None
    among: Mapping[str, str]
    judged: Sequence[str]
    left_out: Sequence[str]
    below: Mapping[str, str]


def count_pictures(request: CountRequest, display: Display) -> FolderCount:
    """Count the pictures of a request that the tables of its folder do not have yet.

    Args:
        request: validated arguments.
        display: where progress is shown.

    Raises:
        UserError: there is no such picture or run, it cannot be used, or the folder holds other
            counts or cannot be written. A single picture that cannot be counted does not raise.
    """
    out, regions = request.out, request.regions
    given = given_pictures(request)
    if regions is not None and not regions.exists():
        raise UserError(f"There are no regions {str(regions)!r}; name a file or folder with --roi.")
    run = find_trained(DEFAULT if request.run is None else request.run, request.store)
    # Loaded before new tables are created, since a run may be refused; else only when needed.
    load = functools.cache(lambda: _load(run, request, display))
    busy = f"Another process is counting into {out}; wait for it, or name another --out."
    if selects_every_plane(given.reading.planes):
        if given.hashes and not (out / COUNTS).exists():
            load()
        with hold_folder(out, elsewhere="--out", busy=busy):
            # Other settings are refused before stacks are unpacked. The tables mark the folder as
            # that of a count, even if this process is killed before anything is counted.
            reading = replace(given.reading, planes=PlaneChoice())
            CountTables(out, _settings(request, reading, run), {})
            given = unpacked(given, reading, out, display)
    # Arguments that the estimates cannot use are refused before anything is counted.
    experiment = _experiment(request, given, run)
    if given.hashes and not (out / COUNTS).exists():
        load()
    with hold_folder(out, elsewhere="--out", busy=busy):
        tables = CountTables(out, _settings(request, given.reading, run), given.hashes)
        appearances = _count_new(request, given, tables, run, load, display)
        counted = tuple(tables.done[name] for name in given.files if name in tables.done)
        skipped = [*given.refused.items()]
        skipped += [(shown_name(one.path), one.reason) for one in given.skipped]
        by_region: list[RegionCount] = []
        if regions is not None:
            cells = tables.found([one.image for one in counted])
            by_region, without = count_regions(
                counted, cells, {**given.files, **given.stacks}, regions
            )
            write_regions(out, by_region)
            skipped += without
            given.refused.update({f"{n} (regions)": f"{n}: {why}" for n, why in without})
        tables.write_skipped(skipped)
        estimates = _estimates(request, given, experiment, counted, run, load, display)
        unwritten = refresh_corrected_tables(out)
        if request.excel or (out / WORKBOOK).exists():
            try:
                write_workbook(out)
            except UserError as error:  # counts and tables are there
                unwritten.append(str(error))
    unread = [f"{shown_name(one.path)}: {one.reason}." for one in given.skipped if one.picture]
    return FolderCount(
        out,
        counted,
        (*given.refused.values(), *unread),
        tuple(skipped),
        len(given.files) + len(unread),
        run,
        tuple(by_region),
        (
            *experiment.left_out,
            *_warnings(run, counted, appearances, request.scale),
            *table_warnings(counted, tables.done),
            *unwritten,
        ),
        tuple(estimates),
    )


def _experiment(request: CountRequest, given: GivenPictures, run: TrainedRun) -> _Experiment:
    """Find the annotated pictures, and check that the requested estimates can be made.

    Raises:
        UserError: there is no such set, its pictures cannot be read as the others are, the group
            pattern does not match, or no picture is left for the estimates.
    """
    people = None if request.annotated is None else open_set(request.annotated)
    if people is not None:
        check_range_fits(people, given.reading)
    if request.group is not None:
        groups_by_pattern(request.group, given.below.values())
    if people is None:
        return _Experiment(None, {}, [], [], {})
    among = match_to_set(people, given.files, given.reading)
    below = annotated_paths(request.group, people.ids, among, given.below)
    judged = held_out(run, people)
    left_out = check_pictures_left(people, run, given.files, among, judged)
    return _Experiment(people, among, judged, left_out, below)


def _settings(request: CountRequest, reading: ReadOptions, run: TrainedRun) -> dict[str, Any]:
    """Return the method and settings for `method.json`; all counts of a folder share them."""
    settings = {key: run.record[key] for key in _RECORD_KEYS}
    if "calibration" in run.record:
        settings["calibration"] = run.record["calibration"]
    if request.trust_weights and (digest := sha256_file(run.weights)) != run.weights_sha256:
        settings["trusted_weights"] = digest
    if reading != request.reading:
        settings["stacks"] = asdict(request.reading.planes)
    return settings | {
        "mae": run.record["metrics"]["mae"],
        "scale": request.scale,
        "um_per_px": request.um_per_px,
        "reading": {"rule": INTENSITY_RULE, **asdict(reading)},
    }


def _count_new(
    request: CountRequest,
    given: GivenPictures,
    tables: CountTables,
    run: TrainedRun,
    load: "Callable[[], TrainedCounter]",
    display: Display,
) -> list[Appearance]:
    """Count the pictures that the tables do not have, and write the exports.

    Returns:
        The appearance of the first of them, at most `_MOST_COMPARED`.
    """
    exporter = Exporter(request.out, request.marked, request.also, given.reading)
    files = given.files
    areas: dict[str, int] = {}  # px
    appearances: list[Appearance] = []
    if known := {name: files[name] for name in given.hashes if name in tables.done}:
        exporter.write_missing(tables, known)
    for name in (name for name in given.hashes if name not in known):
        try:
            width, height = full_size(files[name], given.reading)
            areas[name] = width * height
        except SeveralPlanesError as error:
            given.refused[name] = f"{error} --page all counts each of them."
        except UserError as error:
            given.refused[name] = str(error)
    if not areas:
        return []
    counter, scale = load(), request.scale
    # Intervals follow from the errors on pictures that the method was not trained on.
    intervals = count_intervals(*held_out_counts(run.record, run.weights.parent))

    def read(name: str) -> tuple[str, OpenedPicture | UserError]:
        try:
            factor = counter.input_scale * scale
            picture = open_picture(files[name], given.reading, factor=factor)
        except UserError as error:  # the other pictures are still counted
            return name, error
        if len(appearances) < _MOST_COMPARED and not isinstance(picture.pixels, LargePicture):
            appearances.append(measure_appearance(picture.pixels))
        return name, given.as_stated(name, picture)

    def write(counted: Counted, found: Prediction, path: Path, pixels: Pixels) -> None:
        exporter.write(counted, tables.add(counted, found), path, pixels)

    with display.task("counting", sum(areas.values())) as advance, write_behind() as begin:
        for name, picture in prefetch(read, areas, ahead=1):
            try:
                if isinstance(picture, UserError):
                    raise picture
                found = count_picture(counter, picture, name, scale, advance)
            except UserError as error:
                given.refused[name] = str(error)
                advance(areas[name])
                continue
            sha256 = given.hashes[name]
            counted = line_of(name, sha256, picture, found, request.um_per_px, intervals)
            begin(write, counted, found, files[name], picture.pixels)
    return appearances


def _estimates(
    request: CountRequest,
    given: GivenPictures,
    experiment: _Experiment,
    counted: Sequence[Counted],
    run: TrainedRun,
    load: "Callable[[], TrainedCounter]",
    display: Display,
) -> list[GroupMeans]:
    """Compute means and totals, and write `estimates.csv`; empty if none were requested."""
    if experiment.people is None and request.group is None:
        return []
    known: list[KnownPicture] = []
    if experiment.people is not None:
        known = count_annotated(
            experiment.people, run, load, judged=experiment.judged, scale=request.scale,
            reading=given.reading, display=display,
        )  # fmt: skip
    counts = {one.image: one.count for one in counted if one.image not in experiment.among}
    below = {**given.below, **experiment.below}
    estimates = group_means(counts, known, request.group, below)
    write_group_means(request.out, estimates)
    return estimates


def _warnings(
    run: TrainedRun, counted: Sequence[Counted], appearances: Sequence[Appearance], scale: float
) -> list[str]:
    """Return warnings on the method, on its counts, and on pictures unlike the training's."""
    warnings = run_warnings(run.record, list({one.sha256: one.count for one in counted}.values()))
    if appearances:
        unlike = appearance_warnings(known_summary(run.record), appearances, scale=scale)
        if unlike and any(one.interval is not None for one in counted):
            unlike = [*unlike, TOO_NARROW]
        warnings += unlike
    return warnings


def _load(run: TrainedRun, request: CountRequest, display: Display) -> "TrainedCounter":
    """Load the run's method; show a notice if its weights could not be verified."""
    with display.status("Loading torch"):
        from cellbench.counting.trained_counter import load_counter
    counter = load_counter(run, device=request.device, trust_weights=request.trust_weights)
    if notice := unbound_notice(run.record):
        display.say(notice)
    return counter
