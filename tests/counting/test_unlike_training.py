"""Claims about warnings: pictures unlike those of the training, counts that mean nothing."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage import filters, measure

from cellbench import count
from cellbench.counting import unlike_training
from cellbench.counting.unlike_training import (
    TOO_NARROW,
    appearance_warnings,
    known_summary,
    run_warnings,
)
from cellbench.data.appearance import is_summary, measure_appearance, training_summary
from cellbench.data.splits import make_split
from cellbench.data.stored_set import is_on_disk, open_set
from cellbench.records.result_cache import read_results, write_results
from cellbench.structures import CellSample

SUMMARY = {"polarity": 1, "width_px": [1, 2, 3], "ground": [0, 0, 1], "saturation": [0, 0, 0]}


def scene(*, deviation_px=4.0, invert=False, seed=0):
    """(pixels, points): bright round cells on a dark ground, or dark ones on a bright ground."""
    rng = np.random.default_rng(seed)
    step = int(8 * deviation_px)
    points = np.array([(x, y) for x in range(step, 320, step) for y in range(step, 320, step)])
    y, x = np.mgrid[:320, :320]
    grey = 25 + rng.normal(0, 1.5, x.shape)
    for across, down in points:
        grey += 150 * np.exp(-((x - across) ** 2 + (y - down) ** 2) / (2 * deviation_px**2))
    grey = np.clip(255 - grey if invert else grey, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, 2), points.astype(np.float32) + 0.5


class Scenes:
    """A set of one kind of scenes."""

    ids = ("a", "b", "c")

    def __init__(self, **kind):
        self.kind = kind

    def pixels(self, image_id):
        return scene(seed=ord(image_id), **self.kind)[0]

    def sample(self, image_id):
        return CellSample(image_id, scene(**self.kind)[1], (320, 320))


def warned(trained, counted, scale=1.0):
    summary = training_summary(Scenes(**trained), Scenes.ids)
    assert is_summary(summary)
    looks = [measure_appearance(scene(seed=seed, **counted)[0]) for seed in range(3)]
    return appearance_warnings(summary, looks, scale=scale)


def test_pictures_like_those_of_the_training_are_no_reason_for_a_word():
    assert warned({}, {}) == []


@pytest.mark.parametrize(
    ("trained", "counted"),
    [
        (6.0, 3.0),
        pytest.param(3.0, 6.0, marks=pytest.mark.slow),
        pytest.param(2.5, 7.5, marks=pytest.mark.slow),
    ],
)
def test_cells_of_another_width_suggest_the_scale_that_makes_them_alike(trained, counted):
    (sentence,) = warned({"deviation_px": trained}, {"deviation_px": counted})
    suggested = float(sentence.partition("--scale ")[2].split()[0])
    assert suggested == pytest.approx(trained / counted, rel=0.25)
    assert warned({"deviation_px": trained}, {"deviation_px": counted}, scale=suggested) == []


def test_dark_cells_for_bright_ones_suggest_invert():
    (sentence,) = warned({}, {"invert": True})
    assert "--invert" in sentence


def test_colour_for_grey_is_named():
    summary = training_summary(Scenes(), Scenes.ids)
    pixels = scene()[0] * np.array([1, 0, 0], np.uint8) + np.array([0, 40, 90], np.uint8)
    said = appearance_warnings(summary, [measure_appearance(pixels)], scale=1.0)
    assert any("in colour" in sentence for sentence in said)


def test_nuclei_of_twice_the_width_suggest_half_the_scale():
    stored = open_set("nuclei")
    chosen = stored.ids[::40]
    summary = training_summary(stored, chosen)
    looks = []
    for image_id in stored.ids[7::40]:
        image = Image.fromarray(stored.pixels(image_id))
        wide = image.resize((2 * image.width, 2 * image.height), Image.Resampling.BILINEAR)
        looks.append(measure_appearance(np.asarray(wide)))
    (sentence,) = appearance_warnings(summary, looks, scale=1.0)
    suggested = float(sentence.partition("--scale ")[2].split()[0])
    assert suggested == pytest.approx(0.5, rel=0.25)


def diameter(stored, ids, zoom=1.0):
    """Of bright cells apart from others, px: the median of what Otsu's threshold cuts out."""
    found = []
    for image_id in ids:
        smooth = filters.gaussian(stored.pixels(image_id).max(2).astype(float), 1)
        cut = measure.regionprops(measure.label(smooth > filters.threshold_otsu(smooth)))
        alone = [one for one in cut if one.area > 12 and one.solidity > 0.9]
        found += [one.equivalent_diameter_area for one in alone]
    return zoom * float(np.median(found))


@pytest.mark.slow
@pytest.mark.skipif(not is_on_disk("vgg"), reason="the real VGG is not on this disk")
@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_a_method_of_vgg_warns_of_nuclei_of_another_width_and_suggests_the_scale(zoom):
    """The right scale is known from what a threshold cuts out of both."""
    vgg, nuclei = open_set("vgg"), open_set("nuclei")
    trained = make_split(vgg).train[:24]
    summary = training_summary(vgg, trained)
    ids = nuclei.ids[7::40]
    looks = []
    for image_id in ids:
        image = Image.fromarray(nuclei.pixels(image_id))
        size = (round(zoom * image.width), round(zoom * image.height))
        looks.append(measure_appearance(np.asarray(image.resize(size, Image.Resampling.BILINEAR))))
    said = appearance_warnings(summary, looks, scale=1.0)
    (sentence,) = [one for one in said if "--scale" in one]
    suggested = float(sentence.partition("--scale ")[2].split()[0])
    right = diameter(vgg, trained) / diameter(nuclei, nuclei.ids[::20], zoom)
    assert suggested == pytest.approx(right, rel=0.25)


def test_a_smoke_run_and_counts_that_hardly_vary_are_doubted():
    smoke = {"protocol": "smoke", "method": "DLA"}
    assert "smoke" in run_warnings(smoke, [3.0, 9.0])[0]
    real = smoke | {"protocol": "v1"}
    assert run_warnings(real, [10.0, 40.0, 80.0, 3.0, 9.0]) == []
    assert "hardly vary" in run_warnings(real, [50.0, 50.4, 49.8, 50.0, 50.1])[0]
    assert run_warnings(real, [50.0, 50.0]) == []


def test_an_older_record_is_compared_with_its_set_where_that_is_here():
    stored = open_set("nuclei")
    record = {"dataset": "nuclei", "manifest_hash": stored.manifest_hash}
    assert is_summary(known_summary(record))
    assert known_summary(record | {"manifest_hash": "0" * 64}) is None
    assert known_summary(record | {"dataset": "nowhere"}) is None
    kept = {"training_pictures": SUMMARY}
    assert known_summary(record | kept) == kept["training_pictures"]
    assert is_summary(known_summary(record | {"training_pictures": {"polarity": "x"}}))


def test_the_summary_of_an_older_records_set_is_made_once(home, monkeypatch):
    stored = open_set("nuclei")
    record = {"dataset": "nuclei", "manifest_hash": stored.manifest_hash}
    made = []

    def make(*given):
        made.append(given)
        return SUMMARY | {"n": len(made)}

    monkeypatch.setattr(unlike_training, "training_summary", make)
    assert known_summary(record)["n"] == known_summary(record)["n"] == 1
    folder = stored.folder.absolute()
    ((name, (stamp, _)),) = read_results("appearance", folder).items()
    write_results("appearance", folder, {name: (stamp, b'{"polarity": 7}')})
    assert known_summary(record)["n"] == 2
    write_results("appearance", folder, {name: ("of another set", json.dumps(SUMMARY).encode())})
    assert known_summary(record)["n"] == 3


def test_intervals_are_called_too_narrow_where_pictures_are_unlike_and_only_there(tmp_path, home):
    nuclei = open_set("nuclei")
    ids = [i for i in make_split(nuclei).test if nuclei.entry(i).size == (256, 256)][::6]
    for name, sign in (("alike", 1), ("inverted", -1)):
        (tmp_path / name).mkdir()
        for image_id in ids:
            pixels = nuclei.pixels(image_id)
            picture = Image.fromarray(pixels if sign > 0 else 255 - pixels)
            picture.save(tmp_path / name / f"{image_id}.png")
        folder, out = tmp_path / name, tmp_path / f"{name}-counts"
        warnings = count(folder, "nuclei-blobs", out=out, no_pictures=True).warnings
        assert (TOO_NARROW in warnings) == (name == "inverted"), warnings
