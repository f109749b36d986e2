"""The baselines: what they choose, what they find, and what they must not see."""

import sys

import numpy as np
import pytest
import torch

from cellbench.data.training_set import TrainingSet
from cellbench.data.whole_images import WholeImages
from cellbench.engine.evaluation import infer, validate
from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.errors import PartError, UserError
from cellbench.metrics.scores import score
from cellbench.models.build import build_counter
from cellbench.structures import CellSample
from cellbench_plugins._ops.views import VIEWS, view
from cellbench_plugins.methods._classical import best_level, half_spacing, nearest_f1
from cellbench_plugins.methods.bloblog import rivals, scale_space, shared_area, strongest
from cellbench_plugins.methods.watershed import distance_inside, foreground, maxima, seeds

SMALL = {
    "BlobLoG": {"type": "BlobLoG", "sigmas_px": [2.0, 3.0, 4.5], "most_scales": 2},
    "Watershed": {
        "type": "Watershed", "smoothings_px": [1.0], "windows_px": [0.0, 25.0], "apart_px": [3.0],
    },
}  # fmt: skip


class Discs:
    """Images of soft discs on a ground, some of them fainter; `dark` ones on a bright ground."""

    def __init__(self, *, dark, number=4, side=96):
        self.ids = [str(index) for index in range(number)]
        self.side = side
        self.made = {name: self._draw(int(name), dark) for name in self.ids}

    def _draw(self, seed, dark):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[: self.side, : self.side] + 0.5
        plane, points = np.zeros((self.side, self.side)), []
        for row in range(6, self.side - 5, 14):
            for column in range(6, self.side - 5, 14):
                if rng.random() < 0.2 + 0.2 * seed:
                    px, py = np.array([column, row]) + rng.uniform(-1, 1, 2)
                    points.append((px, py))
                    plane += rng.uniform(0.6, 1) / (1 + np.exp(np.hypot(x - px, y - py) - 4.5) ** 2)
        plane = 40 + 160 * np.clip(plane, 0, 1) + rng.normal(0, 3, plane.shape)
        grey = np.clip(255 - plane if dark else plane, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2), np.array(points, np.float32).reshape(-1, 2)

    def sample(self, image_id):
        return CellSample(image_id, self.made[image_id][1], (self.side, self.side))

    def pixels(self, image_id):
        return self.made[image_id][0]


def training(stored, ids):
    return TrainingSet(stored, ids, transforms=(), seed=0, split=0, crops_per_image=1, batch_size=1)


@pytest.mark.parametrize("scale", [1.0, 0.75])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("method", SMALL)
def test_it_learns_from_validation_which_polarity_and_size_cells_have(method, dark, scale):
    stored = Discs(dark=dark)
    counter = build_counter(SMALL[method])
    assert counter.fit(training(stored, "0"), WholeImages(stored, ["1", "2"], input_scale=scale))
    found = validate(
        counter, WholeImages(stored, ["1", "2"], input_scale=scale), radius_px=3.0,
        precision="float32",
    )  # fmt: skip
    assert found.thresholds["luminance"] == (-1.0 if dark else 1.0)
    assert set(VIEWS) | {"threshold"} < set(found.thresholds)
    candidates, truth = infer(
        counter, WholeImages(stored, ["0", "3"], input_scale=scale), precision="float32"
    )
    scores = score(truth, [counter.select(c) for c in candidates], radius_px=3.0)
    assert scores.metrics["f1"] > 0.95
    assert scores.metrics["mae"] <= 1.0


@pytest.mark.parametrize("method", SMALL)
def test_without_a_validation_part_it_learns_from_the_training_images(method):
    stored = Discs(dark=True)
    with_validation, without = build_counter(SMALL[method]), build_counter(SMALL[method])
    with_validation.fit(training(stored, "0"), WholeImages(stored, ["1", "2"]))
    without.fit(training(stored, "12"), None)
    assert int(without.setting) == int(with_validation.setting)


@pytest.mark.parametrize("method", SMALL)
def test_an_image_of_one_colour_has_no_cell(method):
    counter = build_counter(SMALL[method])
    for value in (0, 128, 255):
        blank = np.full((40, 50, 3), value, dtype=np.uint8)
        images = counter.data_preprocessor.images([blank], scale=1.0, image_ids=["a"])
        (found,) = counter.predict(images)
        assert found.count == 0
        assert found.points.shape == (0, 2)


@pytest.mark.parametrize("method", SMALL)
def test_a_missing_scikit_image_is_one_sentence(method, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.color", None)
    stored = Discs(dark=True, number=1)
    with pytest.raises(UserError, match=f"{method} needs scikit-image"):
        build_counter(SMALL[method]).fit(training(stored, "0"), None)


@pytest.mark.parametrize("method", ["meancount", "bloblog"])
def test_a_budget_does_not_ask_a_method_for_steps_that_it_has_not(method, bench):
    small = () if method == "meancount" else ("model.sigmas_px=[2.0,3.0]", "model.most_scales=1")
    outcome = run(
        Request(
            f"methods/{method}", dataset="adi-sim", protocol="smoke", budget_s=30.0, overrides=small
        )
    )
    errors = [abs(image["prediction"] - image["truth"]) for image in outcome.record["images"]]
    assert outcome.record["metrics"]["mae"] == pytest.approx(sum(errors) / 2)
    assert (outcome.record["metrics"]["f1"] is None) == (method == "meancount")
    wanted = "mean_count" if method == "meancount" else "min_sigma_px"
    assert outcome.record["thresholds"][wanted] > 0


@pytest.fixture
def bench(simulated_home, tmp_path, monkeypatch):
    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


def test_the_mean_is_that_of_the_training_images_alone():
    stored = Discs(dark=True)
    counter = build_counter({"type": "MeanCount"})
    counter.fit(training(stored, ["0", "3"]), WholeImages(stored, ["1", "2"]))
    wanted = (stored.sample("0").count + stored.sample("3").count) / 2
    candidates, _ = infer(counter, WholeImages(stored, ["2"]), precision="float32")
    assert [c.count for c in candidates] == [wanted]
    assert candidates[0].points is None


def test_the_best_level_is_that_of_brute_force():
    rng = np.random.default_rng(0)
    scores = [rng.random(n).astype(np.float32) for n in (12, 0, 30, 7)]
    counts = np.array([5, 2, 11, 4])
    tried = np.append(np.concatenate(scores), np.inf)
    wanted = min(
        np.mean([abs((s >= t).sum() - c) for s, c in zip(scores, counts, strict=True)])
        for t in tried
    )
    level, error = best_level(scores, counts)
    assert error == pytest.approx(wanted)
    assert error == np.mean(
        [abs((s >= level).sum() - c) for s, c in zip(scores, counts, strict=True)]
    )


def test_the_quick_f1_counts_mutual_neighbours_within_the_radius():
    cells = np.array([[0, 0], [10, 0], [20, 0]], dtype=np.float32)
    found = np.array([[1, 0], [2, 0], [10, 3], [40, 0]], dtype=np.float32)
    assert nearest_f1([found], [cells], 2.0) == pytest.approx(2 * 1 / 7)
    assert nearest_f1([found], [cells], 3.0) == pytest.approx(2 * 2 / 7)
    assert nearest_f1([found[:0]], [cells[:0]], 3.0) == 1.0
    images = [CellSample("i", points, (64, 96)) for points in (cells, cells[:1], cells[:0])]
    assert half_spacing(images) == 5.0
    assert half_spacing(images[1:]) == 8.0, "alone in its image a cell is marked somewhere on it"
    assert half_spacing([CellSample("i", cells[:0], (4, 4))]) == 1.0


def test_views_are_those_of_their_definitions():
    rng = np.random.default_rng(0)
    pixels = rng.random((5, 7, 3)).astype(np.float32)
    luminance, saturation, _ = (view(pixels, name, by="a test") for name in VIEWS)
    np.testing.assert_allclose(luminance, pixels @ [0.2125, 0.7154, 0.0721], atol=1e-5)
    wanted = 1 - pixels.min(axis=2) / pixels.max(axis=2)
    np.testing.assert_allclose(saturation, wanted, atol=1e-5)
    stain = 10 ** -(np.array([[[0.65, 0.70, 0.29]]]) * [[[0.5]]])
    only, none = (view(p, "haematoxylin", by="a test") for p in (stain, np.ones((1, 1, 3))))
    assert only[0, 0] > 0.05
    assert none[0, 0] == pytest.approx(0.0, abs=1e-6)


def test_blobs_are_those_of_scikit_image_where_none_overlap_too_much():
    from skimage.feature import blob_log

    pixels = Discs(dark=False).pixels("3")
    counter = build_counter({**SMALL["BlobLoG"], "overlap": 1.0})
    plane = view(pixels / 255, "luminance", by="a test")
    for setting in counter.settings[:5]:
        sigmas = counter.sigmas_px[setting.first : setting.last + 1]
        (ours,) = counter.find(pixels / np.float32(255), scale=1.0, settings=[setting])
        theirs = blob_log(
            plane.astype(np.float64), min_sigma=sigmas[0], max_sigma=sigmas[-1],
            num_sigma=len(sigmas), threshold=0.05, overlap=1.0, exclude_border=False,
        )  # fmt: skip
        strong = ours.points[ours.scores > 0.05]
        ordered = np.floor(strong[np.lexsort(np.floor(strong).T)])
        wanted = theirs[:, 1::-1][np.lexsort(theirs[:, 1::-1].T)]
        assert len(strong) == len(wanted)
        assert np.abs(ordered - wanted).max() <= 1  # a sub-pixel shift may cross a border


def test_a_blob_answers_most_at_its_own_scale():
    y, x = np.mgrid[:61, :61] - 30
    for sigma in (2.0, 4.0):
        plane = np.exp(-(x**2 + y**2) / (2 * sigma**2)).astype(np.float32)
        response = scale_space(plane, [1.0, 2.0, 4.0, 8.0])[:, 30, 30]
        assert [1.0, 2.0, 4.0, 8.0][int(response.argmax())] == sigma
        assert response.max() == pytest.approx(0.5, abs=0.02)


def test_the_area_that_two_discs_share_is_that_of_counted_pixels():
    y, x = np.mgrid[-200:400, -200:400] / 40.0
    small = x**2 + y**2 < 2.0**2
    for distance in (0.0, 0.5, 1.5, 2.5, 3.9, 5.5):
        large = (x - distance) ** 2 + y**2 < 3.0**2
        (share,) = shared_area(np.array([distance]), 2.0, 3.0)
        assert share == pytest.approx((small & large).sum() / small.sum(), abs=0.01)
        assert share == pytest.approx(shared_area(np.array([distance]), 3.0, 2.0)[0])


def test_a_suppressed_blob_suppresses_none():
    points = np.array([[0.0, 0], [1.5, 0], [3.0, 0]])
    pairs = rivals(points, np.zeros(3, dtype=int), np.array([2.0]), overlap=0.5, apart=1)
    assert pairs.tolist() == [[0, 1], [1, 2]]
    assert strongest(3, pairs).tolist() == [True, False, True]


def test_two_touching_discs_have_two_seeds_and_a_cut_one_is_not_narrowed():
    y, x = np.mgrid[:40, :60] + 0.5
    mask = (np.hypot(x - 20, y - 20) < 9) | (np.hypot(x - 35, y - 20) < 9)
    mask |= np.hypot(x - 55, y - 0) < 7
    rows = seeds(maxima(distance_inside(mask)), apart=4.0)
    near = [np.hypot(*(rows + 0.5 - middle).T).min() for middle in ([20, 20], [20, 35], [0, 55])]
    assert len(rows) == 3
    assert max(near) < 2.0


def test_thresholds_are_otsus_and_the_local_mean():
    step = np.zeros((30, 30), dtype=np.float32)
    step[:, 15:] = 1.0
    assert foreground(step, window=0).sum() == 450
    assert not foreground(np.ones((4, 4), dtype=np.float32), window=0).any()
    local = foreground(step, window=5)
    assert local[:, 15:17].all()
    assert not local[:, :13].any()


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ({"type": "BlobLoG", "sigmas_px": [3.0, 2.0]}, "sigmas_px"),
        ({"type": "BlobLoG", "overlap": 0.0}, "overlap"),
        ({"type": "Watershed", "windows_px": []}, "windows_px"),
        ({"type": "Watershed", "apart_px": [-1.0]}, "apart_px"),
    ],
)
def test_a_grid_without_sense_is_refused(model, word):
    with pytest.raises(PartError, match=word):
        build_counter(model)


def test_what_was_chosen_travels_with_the_weights():
    counter = build_counter(SMALL["BlobLoG"])
    counter.setting.fill_(3)
    other = build_counter(SMALL["BlobLoG"])
    other.load_state_dict(counter.state_dict())
    assert int(other.setting) == 3
    assert torch.equal(other.threshold, counter.threshold)
