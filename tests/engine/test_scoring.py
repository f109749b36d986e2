"""Scoring of the test part and what is drawn of it, with counts known beforehand."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_training import Pictures, training

from cellbench.engine import pictures, scoring
from cellbench.engine.pictures import draw_pictures
from cellbench.engine.scoring import draw, find_calibration, recorded_groups, score_test
from cellbench.errors import UserError
from cellbench.metrics.calibration import CountCalibration
from cellbench.models.counter import CellCounter
from cellbench.structures import CellSample, Prediction

IDS = Pictures.ids


class Known(CellCounter):
    """Counts two cells less than there are, and finds as many points where it is asked to."""

    def __init__(self, *, with_points):
        super().__init__(size_multiple=1, channels_last=False)
        self.with_points = with_points
        self.level = torch.nn.Parameter(torch.zeros(()))

    def infer(self, images):
        return [self.answer_for(image_id) for image_id in images.image_ids]

    def answer_for(self, image_id):
        points = Pictures().sample(image_id).points
        found = {"points": points, "scores": np.ones(len(points), np.float32)}
        return Prediction(len(points) + 3.0, **(found if self.with_points else {}))

    def select(self, candidates):
        return Prediction(candidates.count - 5.0, candidates.points, candidates.scores)


@pytest.fixture
def prepared():
    def of(given, protocol="v1"):
        return SimpleNamespace(
            experiment=SimpleNamespace(config=given.config, protocol=protocol),
            split=SimpleNamespace(train=list(IDS[:8]), test=list(IDS[8:])),
            images=Pictures(),
            stored=Pictures(),
            device=given.device,
            precision="float32",
            fold=True,
        )

    return of


@pytest.fixture
def known(tmp_path):
    def made(*, with_points=False):
        given = training(tmp_path)
        given.counter = Known(with_points=with_points)
        return given

    return made


def truths(ids):
    return [Pictures().sample(image_id).count for image_id in ids]


def test_what_is_scored_are_the_selected_counts_of_the_test_part(prepared, known):
    given = known()
    began = time.monotonic()
    found = score_test(prepared(given), given, None)
    assert 0 < found.seconds <= time.monotonic() - began
    assert [sample.image_id for sample in found.truth] == list(IDS[8:])
    assert [p.count for p in found.predictions] == [count - 2.0 for count in truths(IDS[8:])]
    assert found.scores.metrics["mae"] == 2.0
    assert all("raw" not in row for row in found.scores.images)
    assert found.points is None


def test_corrected_counts_are_scored_and_the_raw_ones_kept(prepared, known):
    given = known()
    offset = CountCalibration("offset", 1.0, 2.0, area_px=64.0)
    found = score_test(prepared(given), given, offset)
    wanted = truths(IDS[8:])
    assert [p.count for p in found.predictions] == pytest.approx(wanted)
    assert [row["raw"] for row in found.scores.images] == [count - 2.0 for count in wanted]
    assert found.scores.metrics["mae"] == pytest.approx(0)


def test_points_are_kept_by_image(prepared, known):
    given = known(with_points=True)
    found = score_test(prepared(given), given, None)
    assert list(found.points) == list(IDS[8:])
    for image_id, (points, scores) in found.points.items():
        np.testing.assert_array_equal(points, Pictures().sample(image_id).points)
        assert len(scores) == len(points)
    assert found.scores.metrics["f1"] == 1.0


@pytest.mark.parametrize("validation", [True, False])
def test_a_correction_is_found_on_the_images_that_the_run_chose_it_on(
    prepared, known, tmp_path, validation
):
    given = known()
    given.validation = training(tmp_path, validation=validation).validation
    found = find_calibration(prepared(given), given)
    assert found.mae == 2.0
    assert found.images == (4 if validation else 8)


def test_the_released_protocol_scores_crops_of_the_training_images(prepared, known):
    given = known()
    found = score_test(prepared(given, "released"), given, None)
    assert [sample.image_id for sample in found.truth] == list(IDS[:8])
    assert draw(prepared(given, "released"), given, found, pytest.fail) == []


def test_pictures_lie_in_the_folder_of_the_run(prepared, known, tmp_path):
    given = known()
    found = score_test(prepared(given), given, None)
    files = draw(prepared(given), given, found, pytest.fail)
    assert files
    assert {file.parent for file in files} == {tmp_path / "pictures"}


def test_a_disk_that_takes_no_pictures_costs_no_record(prepared, known, monkeypatch):
    def full(*given, **named):
        raise UserError("The disk is full.")

    given, said = known(), []
    monkeypatch.setattr(pictures, "write_atomically", full)
    found = score_test(prepared(given), given, None)
    assert draw(prepared(given), given, found, said.append) == []
    assert said == ["The pictures are left out. The disk is full."]


def counted(errors):
    truth = [CellSample(f"i{n}", np.zeros((0, 2), np.float32), (8, 8)) for n in range(len(errors))]
    return truth, [Prediction(count=float(error)) for error in errors]


class Black:
    """Black pictures of any name."""

    def pixels(self, image_id):
        return np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("errors", "worst", "median"),
    [
        ([0, 8, 1, 7, 2, 6, 3, 5, 4], ["i1", "i3", "i5"], ["i7", "i8", "i6"]),
        ([1, 1, 1, 1], ["i0", "i1", "i2"], ["i1", "i2", "i3"]),
        ([3], ["i0"], ["i0"]),
        ([1, 2], ["i1", "i0"], ["i1", "i0"]),
        ([], [], []),
    ],
)
def test_drawn_are_the_three_worst_and_the_three_in_the_middle(tmp_path, errors, worst, median):
    files = draw_pictures(tmp_path, Black(), *counted(errors), radius_px=2.0)
    names = [f"worst-{n}-{name}.png" for n, name in enumerate(worst, 1)]
    names += [f"median-{n}-{name}.png" for n, name in enumerate(median, 1)]
    assert [file.name for file in files] == names
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize("kind", ["points", "density", "count"])
def test_a_picture_shows_what_the_method_found(tmp_path, monkeypatch, kind):
    """Where points are, there are matches; else the density map, else the annotations alone."""
    shown = {}
    for name in ("overlay", "density_overlay"):
        honest = getattr(pictures, name)
        monkeypatch.setattr(
            pictures,
            name,
            lambda *given, name=name, honest=honest, **named: (
                shown.update(named, name=name),
                honest(*given, **named),
            )[1],
        )
    here = np.array([[2.5, 2.5], [6.5, 6.5]], np.float32)
    found = {
        "points": Prediction(1.0, points=here[:1], scores=np.ones(1, np.float32)),
        "density": Prediction(1.0, density=np.full((8, 8), 1 / 64, np.float32)),
        "count": Prediction(1.0),
    }[kind]
    truth = [CellSample("a", here, (8, 8))]
    draw_pictures(tmp_path, Black(), truth, [found], radius_px=2.0, median=0)
    assert shown["caption"] == "1.0 predicted, 2 annotated: a"
    assert shown["name"] == ("density_overlay" if kind == "density" else "overlay")
    assert ("predicted" in shown) == (kind == "points")
    if kind == "points":
        assert [rows.tolist() for rows in shown["matches"]] == [[0], [0]]


def test_groups_are_recorded_of_a_users_own_images_alone():
    stored = SimpleNamespace(
        manifest=SimpleNamespace(own=None), group={"a": "dish 1", "b": None}.get
    )
    images = [{"id": "a"}, {"id": "b"}]
    assert recorded_groups(stored, images) == {}
    stored.manifest.own = object()
    assert recorded_groups(stored, images) == {"groups": {"a": "dish 1"}}
    assert recorded_groups(stored, images[1:]) == {}


@pytest.mark.parametrize(
    ("protocol", "rule"),
    [("v1", "val"), ("smoke", "val"), ("literature", "last"), ("released", "train crops")],
)
def test_what_weights_are_chosen_on_is_told_by_the_protocol(protocol, rule):
    assert scoring._selection_rule(protocol) == rule
