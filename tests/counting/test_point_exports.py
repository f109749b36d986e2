"""Claims about points for other programs, read back by what those programs expect."""

import csv
import json
import uuid

import numpy as np
import pytest

from cellbench.counting.point_exports import WRITERS, napari_csv, qupath_geojson
from cellbench.structures import no_points

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
