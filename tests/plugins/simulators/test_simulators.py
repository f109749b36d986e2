"""What every simulated set promises, and what each one's pictures show."""

import hashlib
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import Delaunay, cKDTree

from cellbench.errors import UserError
from cellbench.registry import SIMULATORS

NAMES = ["adi-sim", "mbm-sim", "vgg-sim", "dcc-sim"]
# Images drawn once for all tests here; more where they are cheap.
DRAWN = {"adi-sim": 28, "mbm-sim": 10, "vgg-sim": 28, "dcc-sim": 14}


def simulator(name):
    return SIMULATORS.build({"type": name})


@pytest.fixture(scope="module")
def drawn():
    return {name: [simulator(name).draw(i) for i in range(DRAWN[name])] for name in NAMES}


def fingerprint(image):
    digest = hashlib.sha256(image.pixels.tobytes())
    digest.update(image.points.tobytes())
    return digest.hexdigest()


def luminance(image):
    return image.pixels.astype(np.float64).mean(axis=2)


def at_points(field, points):
    return ndimage.map_coordinates(field, (points - 0.5).T[::-1], order=1, mode="nearest")


def distance_to_points(image):
    """Of each pixel, in px; (H, W)."""
    marked = np.zeros(image.pixels.shape[:2], dtype=bool)
    marked[tuple(image.points.astype(int).T[::-1])] = True
    return ndimage.distance_transform_edt(~marked)


def nearest_neighbours(images):
    return np.concatenate(
        [cKDTree(i.points).query(i.points, 2)[0][:, 1] for i in images if len(i.points) > 1]
    )


def held_out_r2(features, target):
    """Share of variance that linear regression explains of each image from all the others."""
    design = np.column_stack([features, np.ones(len(features))])
    residual = np.empty(len(target))
    for k in range(len(target)):
        rest = np.arange(len(target)) != k
        fit, *_ = np.linalg.lstsq(design[rest], target[rest], rcond=None)
        residual[k] = target[k] - design[k] @ fit
    return 1.0 - (residual**2).sum() / ((target - target.mean()) ** 2).sum()


def test_another_process_draws_the_same_pictures_in_another_order_without_torch(drawn):
    script = """
import hashlib, json, sys
from cellbench.registry import SIMULATORS
found = {}
for name in reversed(sys.argv[1:]):
    simulator = SIMULATORS.build({"type": name})
    for index in (3, 0):
        image = simulator.draw(index)
        digest = hashlib.sha256(image.pixels.tobytes())
        digest.update(image.points.tobytes())
        found[f"{name}/{index}"] = digest.hexdigest()
print(json.dumps([found, "torch" in sys.modules]))
"""
    answer = subprocess.run(
        [sys.executable, "-c", script, *NAMES], capture_output=True, text=True, check=True
    )
    found, torch_was_imported = json.loads(answer.stdout)
    expected = {f"{n}/{k}": fingerprint(drawn[n][k]) for n in NAMES for k in (0, 3)}
    assert found == expected
    assert not torch_was_imported


@pytest.mark.parametrize("name", NAMES)
def test_seed_and_index_change_the_picture(drawn, name):
    seen = {fingerprint(image) for image in drawn[name]}
    assert len(seen) == DRAWN[name]
    assert fingerprint(simulator(name).draw(0, seed=1)) not in seen
    assert fingerprint(simulator(name).draw(simulator(name).images)) not in seen


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_contiguous_rgb_and_points_lie_inside_one_pixel_each(drawn, name):
    for index, image in enumerate(drawn[name]):
        height, width, channels = image.pixels.shape
        assert channels == 3
        assert image.pixels.dtype == np.uint8
        assert image.pixels.flags.c_contiguous
        assert image.points.dtype == np.float32
        assert image.points.shape == (simulator(name).count(index), 2)
        assert (image.points >= 0).all()
        assert (image.points < (width, height)).all()
        assert len({tuple(pixel) for pixel in np.floor(image.points)}) == len(image.points)


@pytest.mark.parametrize("seed", [0, 1, 20])
@pytest.mark.parametrize(
    ("name", "images", "mean", "deviation", "least", "most"),
    [
        ("adi-sim", 200, 155.1, 35.9, 48, 299),
        ("mbm-sim", 44, 126.2, 33.1, 65, 196),
        ("vgg-sim", 200, 176.0, 61.2, 74, 317),
        ("dcc-sim", 177, 34.1, 21.8, 0, 101),
    ],
)
def test_counts_of_a_whole_set_are_those_of_the_real_one(
    name, images, mean, deviation, least, most, seed
):
    stand_in = simulator(name)
    counts = np.array([stand_in.count(index, seed=seed) for index in range(stand_in.images)])
    assert stand_in.images == images
    assert counts.mean() == pytest.approx(mean, rel=0.02)
    assert counts.std() == pytest.approx(deviation, rel=0.05)
    assert counts.min() >= least
    assert counts.max() <= most


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_colour_does_not_tell_the_count(drawn, name):
    colour = np.array([image.pixels.reshape(-1, 3).mean(axis=0) for image in drawn[name]])
    counts = np.array([len(image.points) for image in drawn[name]], dtype=float)
    assert held_out_r2(colour, counts) < 0.7


@pytest.mark.parametrize(
    ("name", "median_px", "least_px"),
    # Medians of the real sets: 8.9, 27.1 and 8.5 px; no copy of DCC was at hand.
    [("adi-sim", (8.0, 10.0), 1.0), ("mbm-sim", (22.0, 30.0), 8.0), ("vgg-sim", (7.5, 10.0), 0.0)],
)
def test_cells_are_as_far_apart_as_in_the_real_set(drawn, name, median_px, least_px):
    near = nearest_neighbours(drawn[name])
    assert median_px[0] < np.median(near) < median_px[1]
    assert near.min() > least_px


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrong", [{"index": -1}, {"index": 0, "seed": -2}, {"index": 1.5}, {"index": "3"}]
)
def test_a_seed_or_index_that_is_no_whole_number_from_0_up_is_refused(name, wrong):
    with pytest.raises(UserError, match="whole number from 0 up"):
        simulator(name).draw(**wrong)


@pytest.mark.parametrize("name", NAMES)
def test_each_names_the_set_it_stands_for(name):
    part = simulator(name)
    assert part.name == name
    assert part.stands_for == name.removesuffix("-sim")
    assert part.image_id(7) == "0007"


def test_adi_points_lie_in_pale_cells_and_walls_between_them_are_darker(drawn):
    pale, total = 0, 0
    for image in drawn["adi-sim"]:
        assert image.pixels.shape == (150, 150, 3)
        assert (image.part, image.group) == (None, None)
        grey = luminance(image)
        inside = at_points(grey, image.points)
        edges = np.concatenate(
            [s[:, [a, b]] for s in [Delaunay(image.points).simplices] for a, b in ((0, 1), (1, 2))]
        )
        ends = image.points[edges]  # (E, 2, 2)
        edges = edges[np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) < 20.0]
        steps = np.linspace(0.2, 0.8, 13)
        start, way = image.points[edges[:, 0]], np.diff(image.points[edges], axis=1)[:, 0]
        along = np.stack([at_points(grey, start + step * way) for step in steps])
        wall = along.min(axis=0)
        pale += (inside[edges].min(axis=1) > wall + 2.0).sum()
        total += len(edges)
    assert pale / total > 0.8


def test_mbm_points_lie_on_dark_nuclei(drawn):
    on, off = [], []
    for image in drawn["mbm-sim"]:
        assert image.pixels.shape == (600, 600, 3)
        red = ndimage.uniform_filter(image.pixels[..., 0].astype(float), 5)
        row, column = image.points.astype(int).T[::-1]
        on.append(red[row, column])
        off.append(np.median(red))
        assert np.mean(red[row, column] < np.median(red) - 25) > 0.85
    assert np.median(np.concatenate(on)) < np.median(off) - 70


def test_mbm_images_come_from_eight_donors_in_the_sizes_of_the_real_set(drawn):
    stand_in = simulator("mbm-sim")
    sizes = Counter(stand_in.donor(index) for index in range(stand_in.images))
    assert [sizes[donor] for donor in range(8)] == [8, 8, 8, 4, 4, 4, 4, 4]
    for index, image in enumerate(drawn["mbm-sim"]):
        assert image.group == f"donor-{stand_in.donor(index) + 1}"
        assert image.part is None


def test_vgg_points_outshine_the_background_in_blue_alone(drawn):
    for image in drawn["vgg-sim"]:
        assert image.pixels.shape == (256, 256, 3)
        assert (image.part, image.group) == (None, None)
        assert image.pixels[..., :2].mean() < 3
        blue = image.pixels[..., 2].astype(float)
        background = blue[distance_to_points(image) > 12.0]
        assert np.mean(at_points(blue, image.points) > np.median(background) + 30) > 0.97


def test_vgg_cells_overlap(drawn):
    assert np.mean(nearest_neighbours(drawn["vgg-sim"]) < 9.0) > 0.35


def test_dcc_pictures_are_grey_and_their_sizes_span_the_real_ones(drawn):
    stand_in = simulator("dcc-sim")
    sizes = np.array([stand_in.size(index) for index in range(stand_in.images)])
    assert tuple(sizes.min(axis=0)) == (306, 322)
    assert tuple(sizes.max(axis=0)) == (798, 788)
    for index, image in enumerate(drawn["dcc-sim"]):
        assert image.pixels.shape[1::-1] == stand_in.size(index)
        assert (np.ptp(image.pixels, axis=2) == 0).all()


@pytest.mark.parametrize("seed", [0, 5])
def test_dcc_holds_one_image_without_a_cell_and_it_can_be_drawn(seed):
    stand_in = simulator("dcc-sim")
    empty = [i for i in range(stand_in.images) if stand_in.count(i, seed=seed) == 0]
    assert len(empty) == 1
    image = stand_in.draw(empty[0], seed=seed)
    assert image.points.shape == (0, 2)
    assert image.points.dtype == np.float32


def test_dcc_is_distributed_as_100_train_and_77_test_images(drawn):
    stand_in = simulator("dcc-sim")
    assert {image.part for image in drawn["dcc-sim"]} == {"train"}
    assert stand_in.draw(99).part == "train"
    assert stand_in.draw(100).part == "test"
    assert stand_in.draw(176).part == "test"


def test_dcc_points_lie_on_what_stands_out(drawn):
    cells, background = [], []
    for image in drawn["dcc-sim"]:
        if len(image.points) == 0:
            continue
        grey = luminance(image)
        mean = ndimage.uniform_filter(grey, 25)
        contrast = np.sqrt(np.maximum(ndimage.uniform_filter(grey**2, 25) - mean**2, 0))
        row, column = image.points.astype(int).T[::-1]
        cells.append(np.median(contrast[row, column]))
        away = distance_to_points(image)
        background.append(np.median(contrast[away >= np.quantile(away, 0.9)]))
    assert np.mean(np.array(cells) > 1.5 * np.array(background)) > 0.9
