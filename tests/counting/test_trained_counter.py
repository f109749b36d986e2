"""Claims about counting pictures of one's own: as in scoring, whole or in tiles."""

import dataclasses
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from cellbench.counting import trained_counter
from cellbench.counting.tiles import tile_axis, tiles
from cellbench.counting.trained_counter import TrainedCounter, crop_to_core, load_counter
from cellbench.data.stored_set import open_set
from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.errors import UserError
from cellbench.models.build import build_counter
from cellbench.records.point_lists import read_points
from cellbench.records.trained_runs import find_trained
from cellbench.structures import Prediction
from cellbench.testing.agreement import assert_same_candidates

TRUNK = {"type": "VGG16", "strides": [2, 4], "weights": None}


@pytest.fixture(scope="module")
def finished(simulated_home, tmp_path_factory):
    store = tmp_path_factory.mktemp("count-store")
    small = (
        "model.backbone.strides=[2, 4]",
        "model.backbone.weights=None",
        "model.backbone.frozen_stages=0",
        "data.batch_size=2",
        "data.input_scale=1.5",
        "data.augment.0.size=64",
        "schedule.validations=2",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLBENCH_HOME", str(simulated_home))
        patch.setenv("CELLBENCH_OFFLINE", "1")
        asked = Request("configs/dla_adi.py", dataset="adi-sim", protocol="smoke", epochs=2)
        return run(dataclasses.replace(asked, overrides=small, store=str(store)))


def test_the_test_images_are_counted_as_the_record_has_them(finished, bench):
    counter = load_counter(find_trained(str(finished.folder), None), device="cpu")
    stored = open_set("adi-sim")
    points = read_points(finished.record_file, finished.record)
    for image in finished.record["images"]:
        # counted alone here, in a batch there: the same up to rounding (see `agreement`)
        found = counter.count(stored.pixels(image["id"]))
        expected = Prediction(image["prediction"], *points[image["id"]])
        assert found.count == len(found.points)
        # a record keeps points to 1/32 px and scores as float16
        assert_same_candidates(
            found, expected, floor=float(counter.network.threshold), points_px=0.03, scores=1e-3
        )


def test_a_run_is_found_by_folder_record_and_id(finished, bench):
    store = finished.record_file.parents[3]
    names = (str(finished.folder), str(finished.record_file), str(finished.folder / "record.json"))
    found = [find_trained(name, None) for name in names]
    found.append(find_trained(finished.record["run_id"], str(store)))
    assert {run.weights for run in found} == {finished.folder / "best.safetensors"}
    assert all(run.record == finished.record for run in found)


def trained(model, input_scale=1.0):
    torch.manual_seed(0)
    network = build_counter(model, load_weights=False).eval()
    return TrainedCounter(network, (), input_scale, "float32")


def counter_of_points(near, views=1):
    return trained(
        {
            "type": "PointCounter",
            "backbone": TRUNK,
            "decoder": {"type": "FPN", "stride": 2, "channels": 32},
            "head": {"type": "PointHead", "spacing_px": 2},
            "matcher": {"type": "KHM"},
            "loss": {"type": "PointLoss"},
            "near": near,
            "apart_px": 3.0,
            "views": views,
        }
    )


def with_middling_threshold(counter, pixels):
    """Half of the candidates of a random network count."""
    counter.network.threshold.fill_(0.0)
    scores = counter.count(pixels).scores
    counter.network.threshold.fill_(float(np.median(scores)))


@pytest.fixture
def in_tiles(monkeypatch):
    """Everything is seen in tiles of 192 px that overlap by twice 64 px."""

    def cut():
        small = partial(tiles, whole=1, tile=192, margin=64)
        monkeypatch.setattr(trained_counter, "tiles", small)

    return cut


PIXELS = np.random.default_rng(3).integers(0, 256, (150, 420, 3), dtype=np.uint8)


@pytest.mark.parametrize(("near", "views"), [("drop", 1), ("add", 1), ("add", 4)])
def test_points_are_the_same_whole_and_in_tiles(in_tiles, near, views):
    counter = counter_of_points(near, views)
    with_middling_threshold(counter, PIXELS)
    whole = counter.count(PIXELS)
    in_tiles()
    seen = []
    parts = counter.count(PIXELS, progress=seen.append)
    assert len(seen) > 1
    assert sum(seen) == pytest.approx(1)
    assert parts.count == len(parts.points)
    assert len(whole.points) > 500
    # Where candidates are joined, each is a mean of neighbours that were chosen by their scores;
    # one that is as far from two of them, up to rounding, may be joined with either: both differ.
    floor, ties = float(counter.network.threshold), 4 if views > 1 else 0
    assert_same_candidates(parts, whole, floor=floor, points_px=1e-2, ties=ties)


@pytest.mark.parametrize("scale", [1.0, 0.75])
def test_a_density_sums_to_the_same_whole_and_in_tiles(in_tiles, scale):
    counter = trained(
        {
            "type": "DensityCounter",
            "backbone": TRUNK,
            "decoder": {"type": "FPN", "stride": 4},
            "target": {"type": "GaussianDensity"},
            "loss": {"type": "DensityMSE"},
        }
    )
    whole = counter.count(PIXELS, scale=scale)
    in_tiles()
    parts = counter.count(PIXELS, scale=scale)
    assert parts.count == pytest.approx(whole.count, rel=1e-3)
    assert whole.count > 0


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0])
def test_a_cell_on_the_border_of_two_tiles_counts_once(factor):
    left, right = tile_axis(250, tile=192, margin=64)
    border = left.core.stop / factor
    (whole,) = tile_axis(100)
    for at, counts in ((border, (0, 1)), (np.nextafter(np.float32(border), np.float32(0)), (1, 0))):
        found = []
        for x in (left, right):
            # as the network gives it: from the corner of its tile
            point = np.array([[at - x.read.start / factor, 50 / factor]], np.float32)
            one = Prediction(1.0, point, np.ones(1, np.float32))
            found.append(crop_to_core(one, x, whole, factor, "photo"))
        assert tuple(one.count for one in found) == counts
        kept = np.concatenate([one.points for one in found])
        np.testing.assert_allclose(kept, [[at, 50 / factor]], atol=1e-4)


def test_a_number_without_places_cannot_be_cut(in_tiles):
    counter = trained({"type": "MeanCount"})
    assert counter.count(PIXELS).points is None
    in_tiles()
    with pytest.raises(UserError, match="photo is too large to be processed whole"):
        counter.count(PIXELS, name="photo")


def test_a_picture_without_the_memory_for_it_is_one_sentence_and_the_next_is_counted(monkeypatch):
    counter = trained({"type": "MeanCount"})
    one = np.zeros((8, 8, 3), np.uint8)
    for error in (torch.OutOfMemoryError("CUDA out of memory."), MemoryError()):
        with monkeypatch.context() as patch:
            patch.setattr(counter.network, "infer", Mock(side_effect=error))
            with pytest.raises(UserError, match="not the memory to count photo; end"):
                counter.count(one, name="photo")
        assert counter.count(one).count >= 0
    monkeypatch.setattr(counter.network, "infer", Mock(side_effect=RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        counter.count(one)


def test_scale_enlarges_what_the_network_sees_and_not_the_points():
    counter = counter_of_points("drop")
    counter.network.threshold.fill_(0.0)
    found = counter.count(PIXELS[:90, :120], scale=2.0)
    assert len(found.points) > 3 * len(counter.count(PIXELS[:90, :120]).points)
    assert found.points.max(axis=0) == pytest.approx([120, 90], abs=2)


def test_a_picture_of_one_pixel_is_counted():
    assert counter_of_points("add").count(np.zeros((1, 1, 3), np.uint8)).count in (0, 1)
