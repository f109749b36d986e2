"""Blobs judged by a forest: what it learns, what it looks at, what it must not count."""

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy.ndimage import map_coordinates

from cellbench.data.training_set import TrainingSet
from cellbench.data.whole_images import WholeImages
from cellbench.engine.evaluation import infer, validate
from cellbench.errors import PartError, UserError
from cellbench.metrics.scores import score
from cellbench.models.build import build_counter
from cellbench.models.kept_weights import load_kept
from cellbench.structures import CellSample
from cellbench_plugins.methods._blob_features import (
    FEATURES,
    _neighbours,
    blob_features,
    noise_response,
)
from cellbench_plugins.methods.blobforest import are_cells

SMALL = {
    "type": "BlobForest", "sigmas_px": [2.0, 3.0, 4.5], "most_scales": 2, "trees": 60, "leaves": 64,
}  # fmt: skip
BLOBS = {key: SMALL[key] for key in ("sigmas_px", "most_scales")} | {"type": "BlobLoG"}


class DiscsAndRods:
    """Images of soft discs, which are cells, and of rods as bright and as wide, which are not."""

    def __init__(self, number=6, side=112, dark=False):
        self.ids = [str(index) for index in range(number)]
        self.side, self.dark = side, dark
        self.made = {name: self._draw(int(name)) for name in self.ids}

    def _draw(self, seed):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[: self.side, : self.side] + 0.5
        plane, points = np.zeros((self.side, self.side)), []
        for row in range(10, self.side - 8, 18):
            for column in range(10, self.side - 8, 18):
                px, py = np.array([column, row]) + rng.uniform(-2, 2, 2)
                kind, turn = rng.random(), rng.uniform(0, np.pi)
                along = (x - px) * np.cos(turn) + (y - py) * np.sin(turn)
                across = (y - py) * np.cos(turn) - (x - px) * np.sin(turn)
                if kind < 0.35:
                    distance = np.hypot(along, across)
                    points.append((px, py))
                elif kind < 0.65:
                    distance = np.hypot(np.maximum(np.abs(along) - 4.5, 0), across) + 1.0
                else:
                    continue
                plane += rng.uniform(0.5, 1) / (1 + np.exp(2 * (distance - 4)))
        plane = 40 + 160 * np.clip(plane, 0, 1) + rng.normal(0, 3, plane.shape)
        grey = np.clip(255 - plane if self.dark else plane, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2), np.array(points, np.float32).reshape(-1, 2)

    def sample(self, image_id):
        return CellSample(image_id, self.made[image_id][1], (self.side, self.side))

    def pixels(self, image_id):
        return self.made[image_id][0]


def training(stored, ids, scale=1.0):
    return TrainingSet(
        stored, ids, transforms=(), seed=0, split=0, crops_per_image=1, batch_size=1,
        input_scale=scale,
    )  # fmt: skip


def fitted(model, stored, *, seed=0, scale=1.0):
    torch.manual_seed(seed)
    counter = build_counter(model)
    assert counter.fit(training(stored, "012", scale), None)
    images = WholeImages(stored, ["3"], input_scale=scale)
    validate(counter, images, radius_px=3.0, precision="float32")
    return counter


def scored(counter, stored, scale=1.0):
    images = WholeImages(stored, ["4", "5"], input_scale=scale)
    candidates, truth = infer(counter, images, precision="float32")
    return score(truth, [counter.select(c) for c in candidates], radius_px=3.0).metrics


@pytest.fixture(scope="module")
def stored():
    return DiscsAndRods()


@pytest.fixture(scope="module")
def counter(stored):
    return fitted(SMALL, stored)


@pytest.mark.parametrize(("dark", "scale"), [(False, 1.0), (True, 1.5)])
def test_it_learns_which_of_two_kinds_of_blobs_are_cells(dark, scale):
    stored = DiscsAndRods(dark=dark)
    found = scored(fitted(SMALL, stored, scale=scale), stored, scale)
    assert found["f1"] > 0.9
    assert found["mae"] <= 2.0
    assert found["f1"] > scored(fitted(BLOBS, stored, scale=scale), stored, scale)["f1"] + 0.1


def test_it_learns_nothing_from_validation_images(stored):
    torch.manual_seed(0)
    other = build_counter(SMALL)
    other.fit(training(stored, "012"), WholeImages(stored, ["4", "5"]))
    known = fitted(SMALL, stored).forest()
    assert all(
        np.array_equal(getattr(other.forest(), name), getattr(known, name))
        for name in ("feature", "threshold", "left", "right", "share")
    )


def test_the_same_seed_grows_the_same_forest_and_another_one_another(stored, counter):
    again, other = fitted(SMALL, stored), fitted(SMALL, stored, seed=1)
    assert torch.equal(again.tree_threshold, counter.tree_threshold)
    assert not torch.equal(other.tree_threshold, counter.tree_threshold)


@pytest.mark.parametrize("noise", [0.0, 2.0, 12.0])
def test_a_field_without_cells_stays_empty(counter, noise):
    rng = np.random.default_rng(0)
    for ground in (10, 128, 240):
        grey = np.clip(ground + noise * rng.normal(size=(120, 100)), 0, 255).astype(np.uint8)
        images = counter.data_preprocessor.images(
            [np.repeat(grey[..., None], 3, axis=2)], scale=1.0, image_ids=["a"]
        )
        (found,) = counter.predict(images)
        assert found.count <= 1
        assert found.points.shape == (int(found.count), 2)


def test_a_speck_of_dirt_does_not_change_what_the_other_cells_look_like(counter, stored):
    clean = stored.pixels("4")
    dirty = clean.copy()
    dirty[:6, :6] = 255
    counts = [
        counter.predict(counter.data_preprocessor.images([one], scale=1.0, image_ids=["a"]))[
            0
        ].count
        for one in (clean, dirty)
    ]
    assert abs(counts[1] - counts[0]) <= max(1, 0.1 * counts[0])


def test_training_without_a_cell_finds_none(stored):
    empty = DiscsAndRods(number=4)
    empty.made = {name: (pixels, points[:0]) for name, (pixels, points) in empty.made.items()}
    counter = build_counter(SMALL)
    counter.fit(training(empty, "012"), None)
    candidates, _ = infer(counter, WholeImages(stored, ["4"]), precision="float32")
    assert candidates[0].scores.max() == 0


def test_a_cell_makes_one_point_a_cell():
    points = np.array([[5, 5], [5.5, 5], [30, 30]], np.float32)
    cells = np.array([[5.1, 5], [60, 60]], np.float32)
    assert are_cells(points, cells, 3.0).tolist() == [True, False, False]
    assert are_cells(points[:0], cells, 3.0).shape == (0,)
    assert not are_cells(points, cells[:0], 3.0).any()


def test_features_turn_with_the_picture():
    rng = np.random.default_rng(3)
    pixels = rng.random((40, 56, 3), dtype=np.float32)
    plane = pixels.mean(axis=2)
    points = rng.uniform(6, 34, (9, 2)).astype(np.float32)
    scores = np.sort(rng.uniform(0.1, 0.5, 9).astype(np.float32))[::-1].copy()
    asked = {"unit": 2.0, "noise": noise_response(plane, 2.0)}
    here = blob_features(pixels, plane, points, scores, **asked)
    # Turned by a quarter: (x, y) of a width of 56 comes to (y, 56 - x).
    turned = np.stack([points[:, 1], 56 - points[:, 0]], axis=1)
    there = blob_features(
        np.rot90(pixels).copy(), np.rot90(plane).copy(), turned, scores, **asked
    )  # fmt: skip
    np.testing.assert_allclose(there, here, rtol=2e-3, atol=2e-3)


def test_the_nearest_stronger_blob_is_the_one_of_a_plain_search():
    rng = np.random.default_rng(5)
    points = rng.uniform(0, 60, (40, 2)).astype(np.float32)
    scores = np.sort(rng.uniform(0.1, 0.5, 40).astype(np.float32))[::-1].copy()
    calm = rng.random((60, 60), dtype=np.float32)
    apart, ratio, dip, nearest = _neighbours(calm, points, scores, 0.0, 2.0)
    for own in range(40):
        every = np.hypot(*(points - points[own]).T)
        near = np.argsort(every)[1:13]
        assert nearest[own] == pytest.approx(every[near[0]] / 2, abs=1e-5)
        stronger = [other for other in near if other < own]
        if not stronger:
            assert (apart[own], ratio[own], dip[own]) == (20.0, 0.0, 1.0)
            continue
        other = stronger[0]
        assert apart[own] == pytest.approx(every[other] / 2, abs=1e-5)
        assert ratio[own] == pytest.approx(scores[own] / scores[other], rel=1e-2)
        way = np.linspace(points[own], points[other], 15) - 0.5
        levels = map_coordinates(calm, way[:, ::-1].T, order=1, mode="reflect")
        wanted = (levels[0] - min(levels)) / (abs(levels[0]) + 0.01)
        assert dip[own] == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("number", [0, 1, 2, 30])
def test_features_are_finite_on_any_picture(number):
    rng = np.random.default_rng(4)
    points = rng.uniform(0, 9, (number, 2)).astype(np.float32)
    points[1:2] = points[:1]  # two in one place
    points[-1:] = (9.99, 0.0)
    scores = np.full(number, 0.2, dtype=np.float32)
    for plane in (np.zeros((10, 10), np.float32), -rng.random((10, 10), dtype=np.float32)):
        pixels = np.repeat(plane[..., None], 3, axis=2)
        found = blob_features(pixels, plane, points, scores, unit=4.0, noise=0.0)
        assert found.shape == (number, FEATURES)
        assert np.isfinite(found).all()


def test_kept_weights_count_alike_and_damaged_ones_are_refused(counter, stored, tmp_path):
    file = tmp_path / "best.safetensors"
    state = counter.state_dict()
    safetensors.torch.save_file(state, file)
    kept = load_kept(SMALL, file, sha256=None)
    assert scored(kept, stored) == scored(counter, stored)
    damaged = {**state, "tree_left": torch.zeros_like(state["tree_left"])}
    safetensors.torch.save_file(damaged, file)
    with pytest.raises(UserError, match=r"hold no forest \(a tree leads back\)"):
        load_kept(SMALL, file, sha256=None)


@pytest.mark.parametrize("wrong", [{"trees": 0}, {"leaves": 1}, {"leaves": 20_000}])
def test_a_forest_that_cannot_be_is_refused(wrong):
    with pytest.raises(PartError, match="trees and least_blobs are at least 1"):
        build_counter(SMALL | wrong)
