"""Claims about points for other programs, read back as those programs place them."""

import csv
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
import tifffile
from roifile import roiread

from cellbench.counting.count_exports import Exporter
from cellbench.counting.count_rows import Counted, shown_name
from cellbench.counting.count_tables import CountTables
from cellbench.counting.point_exports import (
    WRITERS,
    coco_json,
    imagej_zip,
    napari_csv,
    qupath_geojson,
)
from cellbench.data.annotation_formats.known_formats import format_of
from cellbench.data.planes import PlaneChoice, StackPlane
from cellbench.data.points import format_points, read_point_file
from cellbench.data.reader import ReadOptions, plane_of
from cellbench.structures import Prediction, no_points

# The centre of the picture's first pixel, and a place in the fourth column of the third row.
POINTS = np.array([[0.5, 0.5], [3.25, 2.75]], np.float32)
SIZE = (900, 800)
SCORES = np.array([1.0, 0.625], np.float32)


def test_napari_has_rows_first_and_pixel_centres_at_whole_numbers():
    read = list(
        csv.DictReader(napari_csv(POINTS, SCORES, name="a", size=SIZE).decode().splitlines())
    )
    assert [row["index"] for row in read] == ["0", "1"]
    places = [[float(row["axis-0"]), float(row["axis-1"])] for row in read]
    assert places == [[0.0, 0.0], [2.25, 2.75]]
    assert [float(row["score"]) for row in read] == [1.0, 0.625]


def test_qupath_has_one_object_with_points_as_they_are():
    read = json.loads(qupath_geojson(POINTS, SCORES, name="a", size=SIZE))
    assert read["type"] == "FeatureCollection"
    (feature,) = read["features"]
    assert feature["geometry"] == {"type": "MultiPoint", "coordinates": [[0.5, 0.5], [3.25, 2.75]]}
    assert feature["properties"]["objectType"] == "annotation"
    assert str(uuid.UUID(feature["id"])) == feature["id"]


def test_qupath_tells_two_pictures_apart_and_one_from_itself_not():
    ids = [
        json.loads(qupath_geojson(points, None, name=name, size=SIZE))["features"][0]["id"]
        for name, points in (("a", POINTS), ("a", POINTS), ("b", POINTS), ("a", POINTS[:1]))
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


@pytest.mark.parametrize("program", sorted(WRITERS))
def test_a_picture_without_cells_is_a_file_without_points(program, tmp_path):
    assert len(read_back(program, no_points(), tmp_path).points) == 0


def read_back(program, points, tmp_path, name="a.png"):
    """What cellbench's own reader of the format has of what was written."""
    suffix, write = WRITERS[program]
    file = tmp_path / f"a{suffix}"
    file.write_bytes(write(points, np.ones(len(points), np.float32), name=name, size=SIZE))
    (found,) = format_of(file).read(file)
    return found


@pytest.mark.parametrize("program", sorted(WRITERS))
def test_our_own_reader_has_the_points_to_a_hundredth_of_a_pixel(program, tmp_path):
    points = np.random.default_rng(0).uniform(0, 800, (200, 2)).astype(np.float32)
    points = np.concatenate([points, POINTS])
    found = read_back(program, points, tmp_path)
    whole = np.floor(points) + 0.5 if program == "cellcounter" else points
    np.testing.assert_allclose(found.points, whole, rtol=0, atol=0.01)
    assert found.picture in (None, "a.png")
    assert found.size in (None, SIZE)


def test_roifile_has_a_multi_point_selection_of_pixel_indices(tmp_path):
    (tmp_path / "a.zip").write_bytes(imagej_zip(POINTS, None, name="a", size=SIZE))
    (roi,) = roiread(tmp_path / "a.zip")
    assert roi.roitype.name == "POINT"
    np.testing.assert_allclose(roi.coordinates(), POINTS - 0.5)


def test_geojson_has_a_valid_collection():
    import geojson

    read = geojson.loads(qupath_geojson(POINTS, None, name="a", size=SIZE))
    assert read.is_valid
    assert list(geojson.utils.coords(read)) == [(0.5, 0.5), (3.25, 2.75)]


def test_pycocotools_has_the_keypoints(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    (tmp_path / "a.json").write_bytes(coco_json(POINTS, SCORES, name="a.png", size=SIZE))
    read = coco.COCO(str(tmp_path / "a.json"))
    found = read.loadAnns(read.getAnnIds(imgIds=[1]))
    np.testing.assert_allclose([one["keypoints"][:2] for one in found], POINTS - 0.5, atol=1e-4)
    assert read.loadImgs([1])[0]["file_name"] == "a.png"


def test_a_cell_on_the_border_is_in_the_last_pixel_of_cell_counter(tmp_path):
    found = read_back("cellcounter", np.array([[900.0, 800.0], [0, 0]], np.float32), tmp_path)
    np.testing.assert_array_equal(found.points, [[899.5, 799.5], [0.5, 0.5]])


def test_a_name_with_signs_of_xml_is_escaped(tmp_path):
    found = read_back("cellcounter", POINTS, tmp_path, name="x/a & <b>.png")
    assert found.picture == "a & <b>.png"


@pytest.mark.parametrize(
    ("axes", "shape", "choice", "number", "z", "t"),
    [
        ("TZCYX", (2, 3, 2), PlaneChoice(channel="2", page="Z=3,T=2"), 12, 2, 1),
        ("TZCYX", (2, 3, 2), PlaneChoice(channel="1", page="Z=2,T=1"), 3, 1, 0),
        ("ZYX", (5,), PlaneChoice(page="4"), 4, 3, 0),
        ("TYX", (5,), PlaneChoice(page="T=5"), 5, 0, 4),
        ("CYX", (3,), PlaneChoice(channel="3"), 3, 0, 0),
        ("ZYX", (5,), PlaneChoice(project="max"), 1, 0, 0),
    ],
)
def test_cells_of_a_stack_are_on_the_plane_that_was_counted(
    tmp_path, axes, shape, choice, number, z, t
):
    path = tmp_path / "stack.tif"
    pixels = np.zeros((*shape, 8, 9), np.uint8)
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": axes})
    counted = Counted(str(path), 2.0, None, (9, 8), 2, "0" * 64)
    exporter = Exporter(tmp_path, False, ("cellcounter", "qupath"), ReadOptions(choice))
    exporter.write(counted, Prediction(2.0, POINTS), path)
    files = exporter.files(counted, path)
    assert f"<MarkerZ>{number}</MarkerZ>" in files["cellcounter"].read_text()
    geometry = json.loads(files["qupath"].read_text())["features"][0]["geometry"]
    wanted = {"c": -1, "z": z, "t": t} if z or t else None
    assert geometry.get("plane") == wanted
    for file in files.values():
        (found,) = format_of(file).read(file)
        assert len(found.points) == 2


def test_pages_without_meaning_are_numbered_as_the_file_has_them(tmp_path):
    path = tmp_path / "pages.tif"
    tifffile.imwrite(path, np.zeros((4, 8, 9), np.uint8), photometric="minisblack", metadata=None)
    assert plane_of(path, PlaneChoice(page="3")) == StackPlane(3)


@pytest.mark.parametrize("name", ["-a.png", "=SUM(A1).png", "'q'.png", "a.png"])
def test_other_programs_know_a_picture_by_the_name_of_its_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    counted = Counted(shown_name(Path(name)), 2.0, None, SIZE, 2, "0" * 64)
    exporter = Exporter(tmp_path, False, ("cellcounter", "coco"), ReadOptions())
    exporter.write(counted, Prediction(2.0, POINTS), Path(name))
    for file in exporter.files(counted, Path(name)).values():
        (found,) = format_of(file).read(file)
        assert found.picture == name


def test_a_hundred_thousand_points_are_several_selections(tmp_path):
    points = np.random.default_rng(0).uniform(0, 800, (100_000, 2)).astype(np.float32)
    found = read_back("imagej", points, tmp_path)
    np.testing.assert_allclose(found.points, points, rtol=0, atol=0.01)


def read_napari(points, tmp_path):
    (tmp_path / "p.csv").write_bytes(napari_csv(points, None, name="a", size=SIZE))
    return read_point_file(tmp_path / "p.csv").points


def read_qupath(points, tmp_path):
    (feature,) = json.loads(qupath_geojson(points, None, name="a", size=SIZE))["features"]
    return np.array(feature["geometry"]["coordinates"])


def read_text(points, tmp_path):
    (tmp_path / "p.txt").write_bytes(format_points(points))
    return read_point_file(tmp_path / "p.txt").points


def read_tables(points, tmp_path):
    counted = Counted("a", float(len(points)), None, (900, 900), len(points), "0" * 64)
    tables = CountTables(tmp_path / "counts", {}, {"a": "0" * 64})
    tables.add(counted, Prediction(counted.count, points))
    return tables.found(["a"])["a"].points


@pytest.mark.parametrize("written_and_read", [read_napari, read_qupath, read_text, read_tables])
def test_points_come_back_to_a_ten_thousandth_of_a_pixel(written_and_read, tmp_path):
    points = np.random.default_rng(0).uniform(0, 800, (50, 2)).astype(np.float32)
    points = np.concatenate([points, np.array([[10.25, 20.75], [3, 4], [0.5, 0.5]], np.float32)])
    np.testing.assert_allclose(written_and_read(points, tmp_path), points, rtol=0, atol=1e-4)
