"""Every reader of what comes from outside: seeds, how they are changed, and what is wrong.

A reader takes a changed file and either refuses it (`UserError`, or None where a file only saves
time) or returns what it read, which its `check` then judges: what is accepted must keep the
promises of the reader, whatever the bytes were.
"""

import contextlib
import hashlib
import io
import json
import math
import random
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import annotation_samples
import numpy as np
import tifffile
from mutators import mutated_bytes, mutated_json, mutated_png
from PIL import Image
from record_samples import sample_images, sample_points, sample_record
from scipy.ndimage import gaussian_filter

from cellbench.counting import count_rows
from cellbench.data.annotation_formats import restricted_pickle
from cellbench.data.annotation_formats.known_formats import format_of
from cellbench.data.archives import unpack
from cellbench.data.images import read_image
from cellbench.data.large import LargeTiff
from cellbench.data.manifests import Entry, Manifest, read_manifest
from cellbench.data.planes import PlaneChoice
from cellbench.data.points import read_point_file
from cellbench.data.reader import ReadOptions, read_whole
from cellbench.errors import UserError
from cellbench.files.reading import read_fields
from cellbench.hashes import content_hash
from cellbench.ranking import published
from cellbench.records import result_cache
from cellbench.records.point_lists import pack_points
from cellbench.records.point_lists import read_points as read_sidecar
from cellbench.records.record_file import parse_record, write_record
from cellbench.records.summaries import summarise
from cellbench.sweeps.claims import Holder
from cellbench_plugins.datasets._dots import map_points, read_map

Mutate = Callable[[bytes, random.Random], bytes]


class WrongAcceptanceError(AssertionError):
    """A reader returned what it promises never to return."""


@dataclass(frozen=True)
class Reader:
    """A reader under test.

    Attributes:
        name: for people.
        file: what the changed file is called.
        seeds: good files.
        mutate: ways of changing one.
        use: reads a changed file and checks what it gave; returns whether it was accepted.
    """

    name: str
    file: str
    seeds: Callable[[], list[bytes]]
    mutate: tuple[Mutate, ...]
    use: Callable[[Path], bool]


def require(condition: object, what: str) -> None:
    """Judge what was accepted."""
    if not condition:
        raise WrongAcceptanceError(what)


@cache
def _record() -> bytes:
    record = sample_record(images=sample_images(3))
    folder = Path(__import__("tempfile").mkdtemp())
    return write_record(folder, record).read_bytes()


def _rehashed(data: bytes, rng: random.Random) -> bytes:
    """A changed record whose own hash was made right again, as one who means it would."""
    changed = mutated_json(data, rng)
    document = json.loads(changed)
    with contextlib.suppress(Exception):
        document["content_hash"] = content_hash(document)
    return json.dumps(document).encode("ascii")


def _use_record(path: Path) -> bool:
    run = summarise(parse_record(path), path)
    good = json.loads(_record())
    same = json.loads(path.read_bytes()) == good
    require(run.edited or same or _says_the_same(path), "an edited record passed as written")
    require(np.isfinite(run.truth).all() and (run.truth >= 0).all(), "a truth")
    require(np.isfinite(run.prediction).all(), "a prediction")
    require(all(v is None or math.isfinite(v) for v in run.metrics.values()), "a metric")
    return True


def _says_the_same(path: Path) -> bool:
    """Whether a record's own hashes follow from all of it, as only a forger could make them."""
    record = json.loads(path.read_bytes())
    return bool(record["content_hash"] == content_hash(record))


def _sidecars() -> list[bytes]:
    images = sample_images(3)
    unscored = {k: (p, None) for k, (p, _) in sample_points(images).items()}
    version_1 = io.BytesIO()
    np.savez(
        version_1,
        image_ids=np.array(["a", "b"]),
        starts=np.array([0, 2, 3]),
        points=np.ones((3, 2), np.float32),
        scores=np.ones(3, np.float32),
    )
    packed = [pack_points(lists) for lists in (sample_points(images), unscored, {})]
    return [*packed, version_1.getvalue()]


def _repacked(data: bytes, rng: random.Random) -> bytes:
    """One array of a points file changed, in an archive that is whole."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            content = mutated_bytes(content, rng) if name == chosen else content
            new.writestr(name, content, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    return stream.getvalue()


def _use_sidecar(path: Path) -> bool:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record = {"points": {"file": path.name, "sha256": digest}}
    for points, scores in read_sidecar(path.with_name("r.json"), record).values():
        require(points.dtype == np.float32 and points.ndim == 2, "points of another type")
        require(points.shape[1] == 2 and np.isfinite(points).all(), "points that are none")
        require(scores is None or len(scores) == len(points), "scores of other points")
    return True


def _manifest() -> list[bytes]:
    entries = tuple(
        Entry(f"im{i}", ".png", (8, 9), i, "a" * 64, "b" * 64, part="train", group=None)
        for i in range(3)
    )
    return [Manifest("toy", entries, notes=("a note",)).to_json().encode()]


def _use_manifest(path: Path) -> bool:
    for entry in read_manifest(path).entries:
        for relative in (entry.image, entry.points):
            inside = (path.parent / relative).resolve()
            require(inside.is_relative_to(path.parent.resolve()), "a file outside")
        require(all(type(edge) is int and edge >= 0 for edge in entry.size), "a size")
        require(type(entry.count) is int and entry.count >= 0, "a count")
    read_manifest(path).to_json()
    return True


def _points() -> list[bytes]:
    return [
        b"1 2\n3 4\n", b"1.5,2.5\n3.25,4\n", b"x;y\n1;2\n", b" ,Area,X,Y\n1,0,3.5,4.5\n",
        b"index,axis-0,axis-1\n0,1.5,2.5\n", b"",
    ]  # fmt: skip


def _use_points(path: Path) -> bool:
    points = read_point_file(path).points
    require(points.dtype == np.float32 and points.shape[1:] == (2,), "another shape")
    require(np.isfinite(points).all(), "a point that is not finite")
    text = path.read_bytes().decode("utf-8-sig")
    data = "".join(line.partition("#")[0] for line in text.splitlines()[1:])
    require(len(points) == 0 or data.isascii() or text.splitlines()[0], "digits of other scripts")
    return True


@cache
def _pictures(suffix: str) -> tuple[bytes, ...]:
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (24, 17), dtype=np.uint8)
    colour = rng.integers(0, 256, (24, 17, 3), dtype=np.uint8)
    found = []
    for array, options in ((grey, {}), (colour, {}), (colour, {"progressive": True})):
        stream = io.BytesIO()
        known = options if suffix == "JPEG" else {}
        Image.fromarray(array).save(stream, suffix, **known)
        found.append(stream.getvalue())
    if suffix in ("PNG", "TIFF"):
        for image in (
            Image.fromarray(grey.astype(np.uint16) * 100),
            Image.fromarray(rng.integers(0, 256, (9, 9, 4), dtype=np.uint8)),
            Image.fromarray(colour).quantize(7),
        ):
            stream = io.BytesIO()
            image.save(stream, suffix)
            found.append(stream.getvalue())
    return tuple(found)


def _use_picture(path: Path) -> bool:
    pixels = read_image(path)
    require(pixels.dtype == np.uint8 and pixels.ndim == 3, "another type")
    require(pixels.shape[2] == 3 and pixels.size > 0, "another shape")
    require(pixels.nbytes < 2**31, "a flood")
    return True


def _tiled() -> list[bytes]:
    found = []
    grey = np.arange(70 * 60, dtype=np.uint16).reshape(70, 60)
    for array, options in (
        (grey.astype(np.uint8), {"tile": (16, 32)}),
        (grey, {"rowsperstrip": 9, "compression": "zlib"}),
        (grey.astype(np.float32), {"tile": (16, 16), "bigtiff": True}),
    ):
        stream = io.BytesIO()
        tifffile.imwrite(stream, array, **options)
        found.append(stream.getvalue())
    return found


def _stacks() -> list[bytes]:
    found = []
    grey = np.arange(30 * 20, dtype=np.uint16).reshape(30, 20)
    stack = np.stack([grey, grey * 3, grey // 2])
    colour = np.dstack([grey.astype(np.uint8)] * 4)
    for array, options in (
        (stack, {"photometric": "minisblack", "ome": True, "metadata": {"axes": "ZYX"}}),
        (stack, {"imagej": True, "metadata": {"axes": "CYX", "unit": "um"}}),
        (stack.astype(np.float32), {"photometric": "minisblack", "compression": "lzw"}),
        (colour, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        (colour, {"photometric": "separated", "compression": "zstd"}),
        (colour[:, :, :3], {"photometric": "rgb", "compression": "jpeg"}),
        (grey, {"compression": "jpeg2000"}),
        (grey.astype(np.int16) - 300, {"extratags": [(274, 3, 1, 6, True)]}),
    ):
        stream = io.BytesIO()
        tifffile.imwrite(stream, array, **options)
        found.append(stream.getvalue())
    return found


def _use_any(path: Path) -> bool:
    try:
        picture = read_whole(path)
    except UserError as error:
        if "name what is counted" not in str(error):
            raise
        choice = PlaneChoice(
            channel="1" if "--channel" in str(error) else None,
            project="max" if "--project" in str(error) else None,
        )
        picture = read_whole(path, ReadOptions(choice))
    pixels = picture.pixels
    require(pixels.dtype == np.uint8 and pixels.ndim == 3, "another type")
    require(pixels.shape[2] == 3 and pixels.size > 0, "another shape")
    require(pixels.nbytes < 2**31, "a flood")
    require(np.isfinite(picture.range).all(), "a range")
    require(picture.range[0] < picture.range[1], "an empty range")
    return True


def _deep_pngs() -> list[bytes]:
    import imagecodecs

    rng = np.random.default_rng(2)
    deep = rng.integers(0, 65536, (20, 30, 4), dtype=np.uint16)
    shapes = (deep[:, :, :3].copy(), deep)
    return [bytes(imagecodecs.png_encode(array)) for array in shapes]


def _any_pictures() -> list[bytes]:
    return [data for suffix in ("PNG", "JPEG", "GIF", "WEBP", "PPM") for data in _pictures(suffix)]


def _use_tiled(path: Path) -> bool:
    large = LargeTiff(path)
    try:
        height, width, _ = large.shape
        for top, left in ((0, 0), (height // 2, width // 2), (max(0, height - 9), 0)):
            part = large[top : top + 8, left : left + 8]
            require(part.dtype == np.uint8 and part.shape[2] == 3, "another type")
    finally:
        large.close()
    return True


def _archives() -> list[bytes]:
    found = []
    for deflated in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", deflated) as archive:
            archive.writestr("set/a.txt", b"1 2\n" * 20)
            archive.writestr("set/b/c.png", bytes(range(256)))
        found.append(stream.getvalue())
    for mode in ("w", "w:gz"):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode) as archive:
            member = tarfile.TarInfo("set/a.txt")
            member.size = 4
            archive.addfile(member, io.BytesIO(b"1 2\n"))
        found.append(stream.getvalue())
    return found


def _use_archive(path: Path) -> bool:
    target = path.with_name("unpacked")
    for file in unpack(path, target, max_bytes=2**24):
        require(file.resolve().is_relative_to(target.resolve()), "a file outside")
        require(file.is_file() and not file.is_symlink(), "a link")
    return True


_RESULTS = {"a.json": ("1 2 3", b"[1, 2.5]"), "b.json": ("4", bytes(range(256)) * 20)}


def _cache() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.sqlite3"
        with mock.patch.object(result_cache, "cache_path", return_value=path):
            result_cache.write_results("runs", Path("/x"), _RESULTS)
        return [path.read_bytes()]


def _use_cache(path: Path) -> bool:
    own = path.with_name("own.sqlite3")  # it is written to, or deleted
    own.write_bytes(path.read_bytes())
    with mock.patch.object(result_cache, "cache_path", return_value=own):
        found = result_cache.read_results("runs", Path("/x"))
        require(found.items() <= _RESULTS.items(), "another content")
        result_cache.write_results("runs", Path("/x"), {"c": ("5", b"")}, keep=["a.json"])
        if found:
            again = result_cache.read_results("runs", Path("/x"))
            require(again.keys() <= {"a.json", "c"}, "results that are gone")
    return bool(found)


def _use_counts(path: Path) -> bool:
    for counted in count_rows.read_counts(path).values():
        require(math.isfinite(counted.count), "a count that is not finite")
        require(min(counted.size) >= 0, "a negative size")
    return True


def _counts() -> list[bytes]:
    row = count_rows.Counted("a.png", 12.5, 3.25, (30, 40), 2, "c" * 64)
    return [count_rows.csv_lines([count_rows.COUNT_HEAD, count_rows.count_row(row)])]


def _use_published(path: Path) -> bool:
    for number in published.read_published(path):
        require(math.isfinite(number.mae) and number.mae >= 0, "an error that is none")
    return True


def _published() -> list[bytes]:
    head = ",".join(published.COLUMNS)
    return [f"{head}\nA,adi,12.5,,3,val,Paper,2,\nB,vgg,2.5,3.5,,unknown,Other,,why\n".encode()]


def _use_claim(path: Path) -> bool:
    try:
        holder = read_fields(path, Holder)
    except (OSError, ValueError):
        return False
    require(type(holder.pid) is int and type(holder.place) is str, "another type")
    return True


def _written(name: str) -> Callable[[], list[bytes]]:
    """Good files of a format of annotations."""

    @cache
    def seeds() -> list[bytes]:
        cells = {"a": np.array([[10.5, 20.5], [200.5, 30.5], [90.5, 90.5]]), "b": np.ones((1, 2))}
        with tempfile.TemporaryDirectory() as folder:
            annotation_samples.FORMATS[name](cells, Path(folder))
            return [path.read_bytes() for path in sorted(Path(folder).iterdir())]

    return seeds


def _use_annotation(path: Path) -> bool:
    for found in format_of(path).read(path):
        require(type(found.cells) is int and 0 <= found.cells < 10**8, "a number of cells")
        require(found.picture is None or type(found.picture) is str, "a name of a picture")
        require(found.size is None or min(found.size) > 0, "a size")
        if found.points is not None:
            require(found.points.dtype == np.float32, "points of another type")
            require(found.points.shape[1:] == (2,), "points of another shape")
            require(np.isfinite(found.points).all(), "a point that is not finite")
        require(all("\n" not in note for note in found.notes), "a note of several lines")
    return True


def _use_pickle(path: Path) -> bool:
    try:
        masks = restricted_pickle.unpickled_masks(path.read_bytes())
    except MemoryError:
        return False  # the process that reads it has little memory on purpose
    except Exception:  # it may fail in any way, in a process of its own
        return False
    require(masks.ndim == 2 and masks.dtype.kind in "iu", "masks of another type")
    return True


def _density_maps() -> list[bytes]:
    import h5py

    dots = np.zeros((24, 32))
    dots[5, 7] = dots[15, 20] = 1
    made = []
    for options in ({}, {"compression": "gzip", "shuffle": True, "chunks": (12, 16)}):
        kept = io.BytesIO()
        with h5py.File(kept, "w") as file:
            file.create_dataset("density", data=gaussian_filter(dots, 2.0), **options)
        made.append(kept.getvalue())
    return made


def _use_density_map(path: Path) -> bool:
    try:
        found = map_points(read_map(path), size=(32, 24), name=str(path)).points
    except UserError:
        return False
    require(found.shape[1:] == (2,) and np.isfinite(found).all(), "points that are none")
    require(bool((found >= 0).all() and (found < [32, 24]).all()), "a point outside")
    return True


def _annotation_reader(name: str, file: str, *mutate: Mutate) -> Reader:
    return Reader(
        f"annotation {name}", file, _written(name), (*mutate, mutated_bytes), _use_annotation
    )


def _claim() -> list[bytes]:
    return [b'{"place": "host boot", "pid": 12, "started": "77", "token": "t"}']


def _picture_reader(kind: str, *more: Mutate) -> Reader:
    return Reader(
        f"picture {kind}", f"a.{kind.lower()}", lambda: list(_pictures(kind)),
        (mutated_bytes, *more), _use_picture,
    )  # fmt: skip


READERS = (
    Reader("record", "r.json", lambda: [_record()], (mutated_json, mutated_bytes), _use_record),
    Reader("forged record", "r.json", lambda: [_record()], (_rehashed,), _use_record),
    Reader("sidecar", "r.points.npz", _sidecars, (mutated_bytes, _repacked), _use_sidecar),
    Reader("manifest", "manifest.json", _manifest, (mutated_json, mutated_bytes), _use_manifest),
    Reader("points", "p.txt", _points, (mutated_bytes,), _use_points),
    _picture_reader("PNG", mutated_png),
    *map(_picture_reader, ("JPEG", "TIFF", "GIF", "WEBP", "BMP", "PPM")),
    Reader("stack", "a.tif", _stacks, (mutated_bytes,), _use_any),
    Reader("deep PNG", "a.png", _deep_pngs, (mutated_png, mutated_bytes), _use_any),
    Reader("any picture", "a.png", _any_pictures, (mutated_bytes,), _use_any),
    Reader("tiled TIFF", "a.tif", _tiled, (mutated_bytes,), _use_tiled),
    Reader("archive", "a.zip", _archives, (mutated_bytes,), _use_archive),
    Reader("cache", "c.sqlite3", _cache, (mutated_bytes,), _use_cache),
    Reader("counts", "counts.csv", _counts, (mutated_bytes,), _use_counts),
    Reader("published", "published.csv", _published, (mutated_bytes,), _use_published),
    _annotation_reader("dot-pictures", "a_dots.png", mutated_png),
    _annotation_reader("label-masks", "a_mask.tif"),
    _annotation_reader("imagej-results-um", "Results.csv"),
    _annotation_reader("counts-only", "counts.csv"),
    _annotation_reader("imagej-roi", "a.roi"),
    _annotation_reader("imagej-zip", "a.zip", _repacked),
    _annotation_reader("qupath", "a.geojson", mutated_json),
    _annotation_reader("coco", "a.json", mutated_json),
    _annotation_reader("labelme", "a.json", mutated_json),
    _annotation_reader("via", "a.json", mutated_json),
    _annotation_reader("cvat", "a.xml"),
    _annotation_reader("cell-counter", "a.xml"),
    Reader("Cellpose pickle", "a_seg.npy", _written("cellpose"), (mutated_bytes,), _use_pickle),
    Reader("density map", "a.h5", _density_maps, (mutated_bytes,), _use_density_map),
    Reader("claim", "claim.json", _claim, (mutated_bytes, mutated_json), _use_claim),
)

__all__ = ["READERS", "Reader", "UserError", "WrongAcceptanceError"]
