"""Audit of records and leaderboard tables: every derived value is recomputed and compared.

Nothing is trained or predicted here; `cellbench verify` does that for one record.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellbench.data.splits import PROTOCOLS, Split, holds_out, make_split
from cellbench.data.stored_set import StoredSet, is_on_disk, open_set
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import read_file
from cellbench.hashes import config_hash, is_intact, run_id_of
from cellbench.metrics import counting
from cellbench.metrics.calibration import CountCalibration
from cellbench.metrics.localisation import Detection, detect_over_radii, pool
from cellbench.metrics.scores import count_metrics
from cellbench.ranking.ranks import rank_runs
from cellbench.ranking.rows import Row
from cellbench.ranking.schedules import odd_schedules
from cellbench.ranking.tables import csv_cell
from cellbench.records.model import Image, Record
from cellbench.records.point_lists import STEP_PX, read_points
from cellbench.records.record_file import parse_record, records_folder
from cellbench.records.store import check_place, record_stamps
from cellbench.records.summaries import Run, summarise
from cellbench.structures import Points

# Columns that follow from the records of a row alone, and those that change with other rows. Ends
# of intervals are not compared: they lie between two resamples, and their last digit depends on
# the machine.
_OF_RECORDS = (
    "mae", "mae_sd", "mae_seed_sd", "raw_mae", "rmse", "mape", "r2", "bias", "f1", "game1", "game2",
    "game3", "iterations",
)  # fmt: skip
_OF_TABLE = ("rank", "share")

# Metrics that follow from the images of a record, in the order in which faults name them.
_METRICS = (
    "images", "cells", "mae", "rmse", "bias", "r2", "mape", "empty_images", "empty_mae",
    "agreement_low", "agreement_high", "game1", "game2", "game3", "precision", "recall", "f1",
    "raw_mae", "raw_bias",
)  # fmt: skip

# Tolerance: sums in another order differ in their last digits.
_RELATIVE = 1e-9


@dataclass(frozen=True, slots=True)
class Audit:
    """Result of an audit.

    Attributes:
        records: number of records checked.
        findings: one sentence per fault.
        remarks: one sentence per check that could not be made here.
    """

    records: int
    findings: list[str]
    remarks: list[str]


def audit_set(store: Path, dataset: str, *, others: Sequence[Path] = ()) -> Audit:
    """Check every record of a set, then the set's table.

    Args:
        store: see `cellbench.paths.store`.
        dataset: name of a set; one without records has no findings.
        others: further stores, whose records are in the first one's table.

    Raises:
        UserError: the folder of records cannot be read.
    """
    findings: list[str] = []
    remarks: list[str] = []
    stored: StoredSet | None = None
    folders = [records_folder(place) / dataset for place in (store, *others)]
    files = [folder / name for folder in folders for name in record_stamps(folder)]
    if files and is_on_disk(dataset):
        stored = open_set(dataset)
    elif files:
        remarks.append(
            f"{dataset} is not on disk, so its manifest, annotations and splits were not compared."
        )
    runs: dict[str, Run] = {}
    stated: list[tuple[Run, int | None]] = []
    for path in files:
        try:
            record = parse_record(path)
            run = summarise(record, path)
            check_place(run, path.parent)
        except UserError as error:
            findings.append(str(error))
            continue
        faults = list(record_faults(record, path, stored))
        if faults:
            findings.append(f"{path}: {'; '.join(faults)}.")
        if run.run_id not in runs:  # copies are not ranked
            runs[run.run_id] = run
            stated.append((run, record.whole_epochs))
    remarks += odd_schedules(stated)
    table = audit_table(store, dataset, rank_runs(runs.values()))
    return Audit(len(files), findings + table.findings, remarks + table.remarks)


def audit_table(store: Path, dataset: str, rows: Sequence[Row]) -> Audit:
    """Compare `leaderboards/<set>.csv` with the rows that the records give.

    Returns:
        A finding for each line whose record is gone or whose numbers are not the record's; a
        remark if the table is merely older than the records. Empty without a table.
    """
    path = store / "leaderboards" / f"{dataset}.csv"
    try:
        text = read_file(path, most=FILE.size).decode("utf-8")
        lines = list(csv.DictReader(io.StringIO(text, newline="")))
    except FileNotFoundError:
        return Audit(0, [], [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return Audit(0, [f"The table {path} cannot be read ({error})."], [])
    findings = []
    moved = []
    fresh = len(lines) == sum(row.listed for row in rows)
    for line in lines:
        what = f"{line.get('method')} under {line.get('protocol')} in {path}"
        known = [row for row in rows if _same(line, row, ("method", "protocol", "config_hash"))]
        if not known:
            findings.append(f"The row of {what} has no record.")
            continue
        same = [row for row in known if _same(line, row, ("splits", "seeds", "recipe", "weights"))]
        fresh = fresh and bool(same)
        if wrong := _differing(line, same, _OF_RECORDS):
            findings.append(f"The row of {what} says other {', '.join(wrong)} than its records.")
        if wrong := _differing(line, same, _OF_TABLE):
            moved.append(f"The row of {what} says other {', '.join(wrong)} than the records give.")
    findings += moved if fresh else []
    remarks = (
        [] if fresh else [f"{path} is older than the records; cellbench leaderboard mends it."]
    )
    return Audit(0, findings, remarks)


def _differing(line: Mapping[str, str], same: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """List the columns in which a line equals none of its rows; empty without rows."""
    return [key for key in keys if same and not any(_same(line, row, (key,)) for row in same)]


def _same(line: Mapping[str, str], row: Row, keys: Sequence[str]) -> bool:
    return all(line.get(key) == _text(csv_cell(getattr(row, key))) for key in keys)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def record_faults(record: Record, path: Path, stored: StoredSet | None) -> Iterator[str]:
    """Yield the faults of one record, as phrases for a list.

    Args:
        record: the record.
        path: its file, beside the points file.
        stored: the set on disk; if None, annotations and splits are not compared.
    """
    try:
        if not is_intact(record.raw):
            yield "it was changed after it was written (its hash does not fit its content)"
        yield from _identity(record, path)
        yield from _metrics(record)
        yield from _sidecar(record, path, stored)
        if stored is not None:
            yield from _data(record, stored)
    except UserError as error:
        yield str(error).rstrip(".")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        yield f"it is damaged ({type(error).__name__}: {error})"


def _identity(record: Record, path: Path) -> Iterator[str]:
    if config_hash(record.config) != record.config_hash:
        yield "its config hash is not its config's"
    if run_id_of(record.raw) != record.run_id:
        yield "its run id does not follow from config, manifest, weights, split, seed and steps"
    if not path.stem.endswith(f"-{record.run_id[:16]}"):
        yield "its file is named after another run"
    if record.protocol not in PROTOCOLS:
        yield f"there is no protocol {record.protocol!r} here"
    data = record.config.get("data")
    radius_px = data.get("radius_px") if isinstance(data, dict) else None
    if radius_px is not None and record.raw["metrics"].get("radius_px") != radius_px:
        yield "its match radius is not its config's"


def _metrics(record: Record) -> Iterator[str]:
    """Compare the metrics with those that follow from the images."""
    images = record.images
    detections = _detections(images)
    if detections:
        pairs = zip(images, detections, strict=True)
        off = [image.id for image, found in pairs if found.tp + found.fn != image.truth]
        if off:
            yield f"found and missed cells of {_some(off)} do not add up to the annotated ones"
    if record.calibration is not None and any(image.raw is None for image in images):
        yield "it lacks counts before their correction"
        return
    given, expected = record.raw["metrics"], _expected_metrics(record, detections)
    wrong = [key for key in _METRICS if key in expected and not _close(given[key], expected[key])]
    if wrong:
        yield f"{', '.join(wrong)} do not follow from its images"


def _detections(images: Sequence[Image]) -> list[Detection]:
    """Return the detections of the images; empty if any image has none."""
    found = [(image.tp, image.fp, image.fn) for image in images]
    if any(None in numbers for numbers in found):
        return []
    return [Detection(*numbers) for numbers in found]  # type: ignore[arg-type]


def _expected_metrics(record: Record, detections: Sequence[Detection]) -> dict[str, float | None]:
    """Compute the metrics of a record from its images; the raw ones only if it is calibrated."""
    images = record.images
    truth = [image.truth for image in images]
    pooled = pool(detections)
    expected = {
        "images": len(images),
        "cells": sum(truth),
        **count_metrics([dict(image) for image in images]),
        "precision": pooled.precision,
        "recall": pooled.recall,
        "f1": pooled.f1,
    }
    if record.calibration is not None:
        raw = [image.raw for image in images if image.raw is not None]
        expected |= {"raw_mae": counting.mae(truth, raw), "raw_bias": counting.bias(truth, raw)}
    return expected


def _sidecar(record: Record, path: Path, stored: StoredSet | None) -> Iterator[str]:
    """Compare the points file with the record and, for a set on disk, the annotations."""
    points = {image_id: xy for image_id, (xy, _) in read_points(path, record.raw).items()}
    if not points:
        return
    if list(points) != [image.id for image in record.images]:
        yield "its points are of other images"
        return
    found = {image.id: (image.tp or 0) + (image.fp or 0) for image in record.images}
    off = [image_id for image_id, xy in points.items() if len(xy) != found[image_id]]
    if off:
        yield f"it has more or fewer points than it counts for {_some(off)}"
    if stored is None or stored.manifest_hash != record.manifest_hash:
        return
    if holds_out(record.protocol) and not _f1_fits(record, points, stored):
        yield "its F1 does not follow from its points and the annotations"


def _f1_fits(record: Record, points: Mapping[str, Points], stored: StoredSet) -> bool:
    """Check the F1 at the match radius, in the metrics and in the F1 by radius."""
    # Wider radii cost seconds each; the match radius suffices to link points and metrics.
    radius_px, f1 = record.raw["metrics"]["radius_px"], record.raw["metrics"]["f1"]
    # Stored points are off by up to half a step in x and y.
    off_px = 0.0 if record.schema_version < 2 else STEP_PX / 2**0.5
    low, high = _f1_bounds(points, stored, radius_px, off_px)
    curve = record.metrics.f1_by_radius or []
    values = [f1, *(row.f1 for row in curve if row.radius_px == radius_px)]
    if low is None or high is None:
        return all(value is None for value in values)
    return all(
        value is not None and low - _RELATIVE <= value <= high + _RELATIVE for value in values
    )


def _f1_bounds(
    points: Mapping[str, Points], stored: StoredSet, radius_px: float, off_px: float
) -> tuple[float | None, float | None]:
    """Compute the lowest and highest F1 of points that are off by up to `off_px`.

    A wider radius never has fewer pairs. None with neither points nor cells.
    """
    truth = [stored.sample(image_id).points for image_id in points]
    radii = [max(0.0, radius_px - off_px), radius_px + off_px]
    low, high = detect_over_radii(list(points.values()), truth, radii)
    return low.f1, high.f1


def _data(record: Record, stored: StoredSet) -> Iterator[str]:
    """Compare a record with the set on disk: revision, epochs, test part, counts, calibration."""
    if record.manifest_hash != stored.manifest_hash:
        yield f"it is of another revision of {stored.name} than the one on disk"
        return
    protocol = record.protocol
    if not holds_out(protocol):
        return
    images = {image.id: image.truth for image in record.images}
    parts = make_split(stored, protocol=protocol, split=record.split)
    if not _passes_fit(record, parts):
        yield "its passes over the training images do not follow from its steps"
    if set(images) != set(parts.test):
        yield f"its images are not the test part of split {record.split} of {protocol}"
        return
    off = [image_id for image_id, n in images.items() if n != stored.entry(image_id).count]
    if off:
        yield f"its true counts of {_some(off)} are not the annotated ones"
    if record.calibration is not None:
        sizes = [stored.entry(image_id).size for image_id in images]
        correction = CountCalibration.of(record.raw["calibration"])
        counts = correction.correct(
            [image.raw or 0.0 for image in record.images], [x * y for x, y in sizes]
        )
        pairs = zip(record.images, counts, strict=True)
        off = [image.id for image, count in pairs if not _close(image.prediction, count)]
        if off:
            yield f"its counts of {_some(off)} are not the raw ones with its correction"


def _passes_fit(record: Record, parts: Split) -> bool:
    """Check that epochs follow from steps; they decide whether a training ranks as complete."""
    data = record.config["data"]
    if not {"crops_per_image", "batch_size"} <= data.keys():
        return True
    crops, batch = data["crops_per_image"], data["batch_size"]
    if type(crops) is not int or type(batch) is not int or min(crops, batch) < 1:
        return False
    steps = -(-len(parts.train) * crops // batch)
    return _close(record.epochs, round(record.iterations / steps, 3))


def _close(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_RELATIVE)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more
