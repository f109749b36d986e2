"""Claims about whole images through a counter."""

import numpy as np
import pytest
import torch
from tiny_training import Pictures, TinyCounter, whole

from cellbench.engine.evaluation import calibrate_counts, infer, validate
from cellbench.metrics.calibration import CountCalibration
from cellbench.models.counter import CellCounter
from cellbench.structures import CellSample, Prediction

IDS = Pictures.ids


@pytest.fixture
def counter():
    torch.manual_seed(0)
    made = TinyCounter()
    made.trunk[1].running_mean.normal_()
    made.trunk[1].running_var.uniform_(0.5, 2)
    return made


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("fold", [True, False])
def test_a_counter_counts_in_evaluation_mode_and_is_left_in_the_mode_it_was_in(counter, mode, fold):
    done = []
    counter.train(mode)
    found, truth = infer(
        counter, whole(*IDS[:6]), precision="float32", fold=fold, on_batch=done.append
    )
    assert {module.training for module in counter.modules()} == {mode}
    assert done == [2, 2, 2]
    assert [sample.image_id for sample in truth] == list(IDS[:6])
    counter.eval()
    for sample, prediction in zip(truth, found, strict=True):
        data = {"arrays": [Pictures().pixels(sample.image_id)], "scale": 1.0, "image_ids": ["a"]}
        with torch.no_grad():
            alone = counter.counts(counter.data_preprocessor(data)["images"].pixels)
        assert prediction.count == pytest.approx(alone.item(), rel=1e-4)


def test_a_counter_that_fails_is_left_in_the_mode_it_was_in(counter, monkeypatch):
    monkeypatch.setattr(TinyCounter, "counts", lambda self, pixels: 1 / 0)
    counter.train()
    with pytest.raises(ZeroDivisionError):
        infer(counter, whole(*IDS[:2]), precision="float32")
    assert counter.training


def test_weights_are_cast_once_for_all_batches(counter):
    shape = list(counter.trunk[0].weight.shape)
    with torch.profiler.profile(record_shapes=True) as seen:
        infer(counter, whole(*IDS[:6]), precision="bfloat16")
    casts = [e for e in seen.events() if e.name == "aten::_to_copy" and e.input_shapes[0] == shape]
    assert len(casts) == 1


class Told(CellCounter):
    """Counts what it is told to; its threshold is taken off each count."""

    calibrates_count = False

    def __init__(self, counts):
        super().__init__(size_multiple=1, channels_last=False)
        self.told = counts
        self.off = 0.0

    def infer(self, images):
        return [Prediction(self.told[image_id]) for image_id in images.image_ids]

    def calibrate(self, validation):
        self.off = 1.0
        assert validation.radius_px == 2.5
        assert [c.count for c in validation.candidates] == list(self.told.values())
        return {"off": self.off}

    def select(self, candidates):
        return Prediction(candidates.count - self.off)


def test_the_error_is_that_of_counts_with_the_chosen_threshold():
    truth = {image_id: Pictures().sample(image_id).count for image_id in IDS[:4]}
    wrong = dict(zip(truth, (1.0, 2.0, 3.0, -3.0), strict=True))
    counter = Told({image_id: truth[image_id] + wrong[image_id] + 1.0 for image_id in truth})
    found = validate(counter, whole(*truth), radius_px=2.5, precision="float32")
    assert found.mae == pytest.approx((1 + 2 + 3 + 3) / 4)
    assert found.thresholds == {"off": 1.0}
    assert found.calibration is None


def samples(counts, sizes):
    return [
        CellSample(str(n), np.zeros((0, 2), np.float32), size, counted=count)
        for n, (count, size) in enumerate(zip(counts, sizes, strict=True))
    ]


def test_a_correction_knows_the_area_of_each_image():
    """Two cells are missing in each 100 px, so that the offset grows with the area."""
    sizes = [(10, 10), (20, 10), (10, 30), (20, 20), (25, 20), (30, 20), (10, 70), (40, 20)]
    counts = np.array([7.0, 31.0, 12.0, 55.0, 23.0, 48.0, 16.0, 39.0])
    areas = np.array([width * height for width, height in sizes])
    counter = Told({})
    counter.calibrates_count = True
    truth = samples((counts + 2 * areas / 100).astype(int).tolist(), sizes)
    found = calibrate_counts(counter, counts, truth)
    assert found.kind == "offset"
    np.testing.assert_allclose(found.correct(counts, areas), [sample.count for sample in truth])


def test_counts_that_are_no_numbers_are_left_as_they_are():
    counter = Told({})
    counter.calibrates_count = True
    truth = samples([1] * 8, [(8, 8)] * 8)
    counts = np.array([*[3.0] * 7, np.nan])
    assert calibrate_counts(counter, counts, truth) == CountCalibration()
    assert CountCalibration().correct(counts, np.ones(8))[0] == 3.0
    counter.calibrates_count = False
    assert calibrate_counts(counter, counts, truth) is None


def test_a_corrected_error_is_that_of_images_it_was_not_fitted_to():
    truth = {image_id: Pictures().sample(image_id).count for image_id in IDS}
    counter = Told({image_id: count + 4.0 for image_id, count in truth.items()})
    counter.calibrates_count = True
    found = validate(counter, whole(*truth), radius_px=2.5, precision="float32")
    assert found.calibration.kind == "offset"
    assert found.mae == found.calibration.mae_left_out["offset"] < 0.5
