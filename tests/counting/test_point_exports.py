"""Claims about points for other programs, read back as those programs place them."""

import csv
import json
import uuid

import numpy as np
import pytest

from cellbench.counting.count_tables import Counted, CountTables
from cellbench.counting.point_exports import WRITERS, napari_csv, qupath_geojson
from cellbench.data.points import format_points, read_point_file
from cellbench.structures import Prediction, no_points

# The centre of the picture's first pixel, and a place in the fourth column of the third row.
POINTS = np.array([[0.5, 0.5], [3.25, 2.75]], np.float32)
SCORES = np.array([1.0, 0.625], np.float32)


def test_napari_has_rows_first_and_pixel_centres_at_whole_numbers():
    read = list(csv.DictReader(napari_csv(POINTS, SCORES, name="a").splitlines()))
    assert [row["index"] for row in read] == ["0", "1"]
    places = [[float(row["axis-0"]), float(row["axis-1"])] for row in read]
    assert places == [[0.0, 0.0], [2.25, 2.75]]
    assert [float(row["score"]) for row in read] == [1.0, 0.625]


def test_qupath_has_one_object_with_points_as_they_are():
    read = json.loads(qupath_geojson(POINTS, SCORES, name="a"))
    assert read["type"] == "FeatureCollection"
    (feature,) = read["features"]
    assert feature["geometry"] == {"type": "MultiPoint", "coordinates": [[0.5, 0.5], [3.25, 2.75]]}
    assert feature["properties"]["objectType"] == "annotation"
    assert str(uuid.UUID(feature["id"])) == feature["id"]


def test_qupath_tells_two_pictures_apart_and_one_from_itself_not():
    ids = [
        json.loads(qupath_geojson(points, None, name=name))["features"][0]["id"]
        for name, points in (("a", POINTS), ("a", POINTS), ("b", POINTS), ("a", POINTS[:1]))
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


@pytest.mark.parametrize("program", sorted(WRITERS))
def test_a_picture_without_cells_is_a_file_without_points(program):
    _, write = WRITERS[program]
    text = write(no_points(), None, name="a")
    if program == "napari":
        assert text == "index,axis-0,axis-1\n"
    else:
        assert json.loads(text) == {"type": "FeatureCollection", "features": []}


def read_napari(points, tmp_path):
    (tmp_path / "p.csv").write_text(napari_csv(points, None, name="a"))
    return read_point_file(tmp_path / "p.csv").points


def read_qupath(points, tmp_path):
    (feature,) = json.loads(qupath_geojson(points, None, name="a"))["features"]
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
