"""Count the cells of pictures into a folder: tables, marked pictures, points for other programs."""

import errno
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cellbench import paths
from cellbench.counting.count_tables import COUNTS, Counted, CountTables, shown_name
from cellbench.counting.picture_list import Skipped, list_pictures
from cellbench.counting.point_exports import WRITERS
from cellbench.counting.region_counts import RegionCount, count_regions, write_regions
from cellbench.counting.unlike_training import differences, doubts, known_summary
from cellbench.data.appearance import Appearance, measure_appearance
from cellbench.data.large import LargePicture, open_picture
from cellbench.data.reader import RULE, ReadOptions, size_of
from cellbench.engine.run_lock import hold
from cellbench.engine.work_progress import Advance, Display
from cellbench.errors import UserError
from cellbench.files.limits import FILE, PICTURE
from cellbench.files.writing import sha256_file, write_atomically
from cellbench.records.trained_runs import find_trained, known_runs, unbound_notice
from cellbench.structures import Prediction

# Pictures that are compared with those of the training.
_MOST_LOOKS = 20

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
    """

    folder: Path
    counted: tuple[Counted, ...]
    refused: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    given: int
    run: "TrainedRun"
    regions: tuple[RegionCount, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exporter:
    """Writes files beside the tables: marked pictures, and points for other programs.

    Attributes:
        folder: of the tables.
        pictures: whether pictures are marked.
        programs: keys of `WRITERS`.
        reading: how the pictures were read.
    """

    folder: Path
    pictures: bool
    programs: Sequence[str]
    reading: ReadOptions

    def files(self, counted: Counted, path: Path) -> dict[str, Path]:
        """The files of a picture, by the folder that they are in."""
        if counted.points is None:
            return {}
        # Pictures of one name from two folders must not write over each other.
        stem = f"{path.stem}-{counted.sha256[:8]}"
        wanted = {"pictures": ".png"} if self.pictures else {}
        wanted |= {program: WRITERS[program][0] for program in self.programs}
        return {kind: self.folder / kind / f"{stem}{end}" for kind, end in wanted.items()}

    def write_missing(self, tables: CountTables, known: Mapping[str, Path]) -> None:
        """Write the missing files of pictures that were counted before, named with their paths."""
        lacking = [
            name
            for name, path in known.items()
            if not all(file.is_file() for file in self.files(tables.done[name], path).values())
        ]
        for name, found in tables.found(lacking).items():
            self.write(tables.done[name], found, known[name])

    def write(self, counted: Counted, found: Prediction, path: Path, pixels: Any = None) -> None:
        """Write the files of a picture; none for a method without points.

        Args:
            counted: its line in the table.
            found: its cells.
            path: of the picture.
            pixels: of it; read from `path` where they are needed and not given.
        """
        for kind, file in self.files(counted, path).items():
            if kind != "pictures":
                write = WRITERS[kind][1]
                data = write(found.points, found.scores, name=counted.image, size=counted.size)
                write_atomically(file, data)
                continue
            from cellbench.drawing import overlay  # loading fonts takes time

            if pixels is None:
                pixels = open_picture(path, self.reading).pixels
            if isinstance(pixels, LargePicture):  # a drawing of that size cannot be opened
                continue
            caption = f"{counted.count:.1f} cells: {path.name}"
            stream = io.BytesIO()
            overlay(pixels, predicted=found.points, caption=caption).save(stream, "PNG")
            write_atomically(file, stream.getvalue(), elsewhere="--out")


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
) -> FolderCount:
    """Count pictures that the tables of a folder do not have yet.

    Args:
        pictures: files, and folders of them.
        run: folder, record or id of a finished run.
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

    Raises:
        UserError: there is no such picture or run, it cannot be used, or the folder holds other
            counts or cannot be written. One picture that cannot be counted stops no others.
    """
    listed = list_pictures(pictures, recursive=recursive, without=out)
    files = {shown_name(path): path for path in listed.pictures}
    if regions is not None and not regions.exists():
        raise UserError(f"There are no regions {str(regions)!r}; name a file or folder with --roi.")
    if run is None:
        raise UserError(_no_run_named(store))
    trained = find_trained(run, store)
    refused: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for name, path in files.items():
        try:
            hashes[name] = sha256_file(path)
        except OSError as error:
            mend = FILE.mend if error.errno == errno.EFBIG else "see its rights"
            refused[name] = f"{name} cannot be opened ({error.strerror}); {mend}."
    # A run that is refused leaves no tables behind; those that are there may need no counting.
    counter = None
    if hashes and not (out / COUNTS).exists():
        counter = _load(trained, device, trust_weights, display)
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
                width, height = size_of(files[name], reading)
                areas[name] = width * height
            except UserError as error:
                refused[name] = str(error)
        if areas:
            counter = counter or _load(trained, device, trust_weights, display)
            with display.task("counting", sum(areas.values())) as advance:
                for name, area in areas.items():
                    try:
                        picture, found = _count_picture(
                            counter, files[name], name, scale, reading, advance
                        )
                    except UserError as error:
                        refused[name] = str(error)
                        advance(area)
                        continue
                    if len(looks) < _MOST_LOOKS and not isinstance(picture.pixels, LargePicture):
                        looks.append(measure_appearance(picture.pixels))
                    counted = _line(name, hashes[name], picture, found, um_per_px)
                    done = tables.add(counted, found)
                    exporter.write(counted, done, files[name], picture.pixels)
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
    warnings = doubts(trained.record, list({c.sha256: c.count for c in done_before}.values()))
    if looks:
        warnings += differences(known_summary(trained.record), looks, scale=scale)
    unread = [f"{shown_name(one.path)}: {one.reason}." for one in listed.skipped if one.picture]
    return FolderCount(
        out,
        done_before,
        (*refused.values(), *unread),
        tuple(skipped),
        len(files) + len(unread),
        trained,
        tuple(by_region),
        tuple(warnings),
    )


def _skipped(listed: Sequence[Skipped], refused: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names and reasons of all files that were not counted."""
    return [*refused.items(), *((shown_name(one.path), one.reason) for one in listed)]


def _line(
    name: str, sha256: str, picture: Any, found: Prediction, um_per_px: float | None
) -> Counted:
    """The line of a picture in the table."""
    height, width = picture.pixels.shape[:2]
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
    )


def _count_picture(
    counter: "TrainedCounter",
    path: Path,
    name: str,
    scale: float,
    reading: ReadOptions,
    advance: Advance,
) -> tuple[Any, Prediction]:
    """Read a picture and count its cells; `advance` takes how many px are done."""
    picture = open_picture(path, reading)
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    if isinstance(pixels, LargePicture) and counter.transforms:
        raise UserError(
            f"{name} has {width}x{height} px, which is read in tiles, and this method prepares "
            f"pictures as a whole; cut it into pieces, or {PICTURE.mend}."
        )
    found = counter.count(
        cast(Any, pixels),
        scale=scale,
        name=name,
        progress=lambda share: advance(share * width * height),
    )
    return picture, found


def _no_run_named(store: str | None) -> str:
    """A sentence that lists the finished runs at hand."""
    runs = known_runs(paths.store(store))
    if not runs:
        return (
            "--with names a finished run, and there is none here yet: cellbench run "
            "configs/dla_adi.py trains one."
        )
    listed = ", ".join(map(str, runs[:3])) + (f" and {len(runs) - 3} more" if runs[3:] else "")
    return f"--with names a finished run; at hand are {listed}."


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
