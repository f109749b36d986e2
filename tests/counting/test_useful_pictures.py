"""Claims about which picture of a count to annotate next."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from counted_samples import write_counts
from PIL import Image

from cellbench.api.counts import count
from cellbench.api.viewer import view
from cellbench.counting.corrections import CorrectionLog
from cellbench.counting.counted_folder import read_counted
from cellbench.counting.useful_pictures import (
    BY_INTERVALS,
    BY_VIEWS,
    USEFUL,
    counter_of,
    find_counter,
    order_by_use,
    view_disagreement,
)
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError

pytestmark = pytest.mark.usefixtures("home")


def in_the_upper_half(pixels, name=""):
    """A counter that misses what lies in the lower half: turning a picture changes its count."""
    return float((pixels[: len(pixels) // 2, :, 0] > 128).sum())


@pytest.fixture
def counted(tmp_path):
    """Pictures of 10 cells each, of which so many lie in the upper left quarter, others spread."""
    pictures = {}
    for name, corner in (("even", 0), ("half", 4), ("all", 10)):
        pixels = np.zeros((20, 20, 3), np.uint8)
        for index in range(10):
            quarter = 0 if index < corner else index % 4
            row, column = 10 * (quarter // 2) + index // 5, 10 * (quarter % 2) + index % 5
            pixels[row, column] = 255
        if corner == 0:  # the same in all eight orientations
            pixels[:] = 0
            pixels[[2, 2, 17, 17, 5, 5, 14, 14], [2, 17, 2, 17, 5, 14, 5, 14]] = 255
        path = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(path)
        pictures[path] = (np.argwhere(pixels[..., 0] > 128)[:, ::-1] + 0.5, None)
    return read_counted(write_counts(tmp_path / "counts", pictures, points=False))


def names(order):
    return [Path(picture.name).stem for picture in order.counted.pictures]


def test_disagreement_is_the_deviation_of_eight_counts_over_their_mean():
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[2, 3:7] = 255  # 4 cells in one half: four orientations see them and four see none
    assert view_disagreement(in_the_upper_half, pixels) == pytest.approx(1.0)
    pixels[17, 3:7] = 255
    assert view_disagreement(in_the_upper_half, pixels) == pytest.approx(
        np.std([4, 4, 4, 4, 8, 8, 0, 0]) / 4
    )
    pixels[:] = 0
    assert view_disagreement(in_the_upper_half, pixels) == 0


def test_pictures_of_which_views_disagree_most_come_first_and_those_seen_last(counted):
    order = order_by_use(counted, load=lambda: in_the_upper_half)
    assert order.by == BY_VIEWS
    assert names(order) == ["all", "half", "even"]
    assert order.values[order.counted.pictures[0].name] == pytest.approx(1.0)
    seen = order_by_use(counted, checked={order.counted.pictures[0].name})
    assert names(seen) == ["half", "even", "all"]  # without the method, from what was kept


def test_what_was_computed_is_kept_and_not_taken_for_another_picture_or_run(counted):
    asked = []

    def counter(pixels, name):
        asked.append(name)
        return in_the_upper_half(pixels)

    order_by_use(counted, load=lambda: counter)
    order_by_use(counted, load=lambda: counter)
    assert len(asked) == 8 * 3
    path = counted.folder / USEFUL
    lines = list(csv.reader(path.read_text().splitlines()))
    lines[1][2], lines[2][1] = "0" * 64, "nan"
    path.write_text("\n".join(map(",".join, lines)) + "\n")
    order = order_by_use(counted, load=lambda: counter)
    assert len(asked) == 8 * 5
    assert names(order) == ["all", "half", "even"]


def test_a_picture_that_has_changed_is_named_and_comes_last(counted, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "all.png")
    said = []
    order = order_by_use(counted, load=lambda: in_the_upper_half, display=Display(say=said.append))
    assert names(order) == ["half", "even", "all"]
    assert "all.png is gone or has changed" in said[0]


def test_a_method_that_is_the_same_in_all_orientations_leaves_the_intervals(counted):
    widths = {"even": 2.0, "half": 9.0, "all": 4.0}
    pictures = [
        replace(picture, interval=(5.0, 5.0 + widths[Path(picture.name).stem]))
        for picture in counted.pictures
    ]
    said = []
    order = order_by_use(
        replace(counted, pictures=tuple(pictures)),
        load=lambda: lambda pixels, name: 5.0,
        display=Display(say=said.append),
    )
    assert order.by == BY_INTERVALS
    assert names(order) == ["half", "all", "even"]
    assert order.values[pictures[1].name] == pytest.approx(9.0 / pictures[1].count)
    assert "the same in all orientations" in said[0]


def test_without_method_and_intervals_a_sentence_names_what_mends_it(counted):
    with pytest.raises(UserError, match="name the run that counted with --with"):
        view(counted.folder, next_useful=True)


@pytest.mark.slow
def test_the_method_that_counted_is_found_and_its_views_compared(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(2):
        rough = rng.integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(rough).resize((64, 64)).save(tmp_path / f"{index}.png")
    count(tmp_path, "nuclei-unet", out=tmp_path / "counts", no_pictures=True, device="cpu")
    counted = read_counted(tmp_path / "counts")
    assert all(picture.interval for picture in counted.pictures)
    with pytest.raises(UserError, match="name the one that counted"):
        find_counter(counted, "nuclei-blobs")
    found = counter_of(counted, device="cpu")
    pixels = np.asarray(Image.open(counted.pictures[0].name).convert("RGB"))
    assert found(pixels, "") == pytest.approx(counted.pictures[0].count, abs=1e-3)
    CorrectionLog.open(counted.folder).add(counted.pictures[0].name, [("checked", 0, 0)])
    order = []

    def ready(server):
        order.append(server.session.overview())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        view(counted.folder, next_useful=True, device="cpu", ready=ready)
    assert order[0]["ordered_by"] == BY_VIEWS
    assert [each["checked"] for each in order[0]["pictures"]] == [False, True]
