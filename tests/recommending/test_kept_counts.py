"""Claims about kept models as candidates: the folds correct them, and what they know is said."""

import json

import numpy as np
import pytest
from annotation_samples import copied_as_own

from cellbench import count, import_own, recommend, verify
from cellbench.data.splits import make_split
from cellbench.data.stored_set import open_set
from cellbench.errors import UserError
from cellbench.metrics.calibration import CountCalibration, choose_calibration
from cellbench.recommending import candidates, kept_counts, recommendation
from cellbench.recommending.candidates import Candidate
from cellbench.recommending.folds import CandidateResults
from cellbench.recommending.kept_counts import KeptRunner, calibrated
from cellbench.records.kept_models import find_model
from cellbench.records.trained_runs import find_trained
from cellbench.structures import Prediction

AREAS = [60_000] * 12
TRUTH = np.linspace(10, 60, 12)


def test_a_correction_is_of_what_the_models_own_scale_gives():
    raw = TRUTH / 1.5 / 0.8 + np.tile([0.2, -0.2], 6)
    own = CountCalibration("scale", scale=1.5)
    found = calibrated(own, TRUTH, raw, AREAS)
    after = choose_calibration(TRUTH, 1.5 * raw, AREAS)
    assert after.kind == "scale"
    np.testing.assert_allclose(found.correct(raw, AREAS), after.correct(1.5 * raw, AREAS))
    assert found.scale == pytest.approx(1.5 * 0.8, rel=0.02)


def test_an_offset_after_the_models_own_scale_counts_as_the_two_do():
    raw = (TRUTH - 8) / 1.5
    found = calibrated(CountCalibration("scale", scale=1.5), TRUTH, raw, AREAS)
    np.testing.assert_allclose(found.correct(raw, AREAS), TRUTH)
    assert found.correct([0.0], AREAS[:1]) == pytest.approx(0.0)  # blank fields stay blank


def test_where_nothing_is_wrong_the_models_own_correction_stays():
    raw = TRUTH / 1.5 + np.random.default_rng(0).normal(0, 2, 12)
    found = calibrated(CountCalibration("scale", scale=1.5), TRUTH, raw, AREAS)
    assert (found.kind, found.scale, found.offset) == ("scale", 1.5, 0.0)
    assert calibrated(None, TRUTH, TRUTH, AREAS).kind == "identity"


def test_an_own_offset_is_left_out():
    own = CountCalibration("line", scale=1.5, offset=30.0)
    found = calibrated(own, TRUTH, TRUTH, AREAS)
    assert found.kind == "identity"


def test_a_fold_is_corrected_by_its_other_pictures(home, tmp_path):
    nuclei = open_set("nuclei")
    copied_as_own(tmp_path / "own", small(nuclei, nuclei.ids)[::40], nuclei)
    stored = import_own("folded", tmp_path / "own")
    half = {i: Prediction(stored.entry(i).count / 2) for i in stored.ids}
    model = find_trained(str(find_model("nuclei-blobs")), None)
    kept = KeptRunner("nuclei-blobs", model, stored, "cpu", str(tmp_path), half)
    raced = CandidateResults(Candidate("nuclei-blobs (kept)", "", kept=True))
    for split in range(5):
        kept.run(raced, split)
    assert sorted(image["id"] for image in raced.images) == stored.ids
    assert raced.mae < 1e-6  # a scale of 2 mends everything
    assert all((folder / "pictures").is_dir() for folder in raced.folders)
    folder = kept.write(raced)
    found = find_trained(str(folder), None)
    assert found.record["calibration"]["scale"] == pytest.approx(2.0)
    assert (found.record["dataset"], found.record["protocol"]) == ("folded", "everything")
    origin = ("dataset", "manifest_hash", "protocol", "split")
    learned = {key: model.record[key] for key in origin}
    assert found.record["kept_model"]["learned_from"] == [learned]
    # Corrected again, for another set, it still knows the first ones; so do its pictures.
    again = KeptRunner("again", found, stored, "cpu", str(tmp_path), half)
    twice = find_trained(str(again.write(raced)), None).record["kept_model"]["learned_from"]
    assert twice == [learned, {key: found.record[key] for key in origin}]
    stale = raced.folders[0] / "pictures" / "worst-1-gone.png"
    stale.write_bytes(b"")
    kept.run(raced, 0)
    assert not stale.exists()
    with pytest.raises(UserError, match="nothing was trained for it"):
        verify(folder / "record.json")


def small(stored, ids):
    return [image_id for image_id in ids if stored.entry(image_id).size == (256, 256)]


@pytest.mark.slow
def test_a_kept_model_is_recommended_where_it_knows_no_picture_and_counts_with_intervals(
    home, tmp_path, monkeypatch
):
    """Only the mean count and kept models race, on pictures of held-out fields of nuclei."""
    monkeypatch.setattr(candidates, "BASELINES", candidates.BASELINES[:1])
    monkeypatch.setattr(candidates, "LIGHT", ())
    monkeypatch.setattr(recommendation, "_curve", lambda *given: [])
    nuclei = open_set("nuclei")
    parts = make_split(nuclei)
    copied_as_own(
        tmp_path / "own",
        small(nuclei, parts.test)[::3][:16],
        nuclei,
    )
    copied_as_own(
        tmp_path / "known",
        small(nuclei, parts.train)[::5][:16],
        nuclei,
    )
    own = import_own("held", tmp_path / "own")
    found = recommend("held", budget=60, store=str(tmp_path))
    assert found.method.startswith("nuclei-")
    assert found.method.endswith("(kept)")
    assert [one.state for one in found.results if one.name == "MeanCount"] == ["control"]
    counted = count(tmp_path / "own", found.folder, out=tmp_path / "counts", no_pictures=True)
    assert counted.counts["low90"].notna().all()
    recommended = json.loads((found.folder / "recommendation.json").read_text())
    assert len(recommended["residuals"]) == len(own)
    # of the training fields the same models are not proposed
    known = import_own("known", tmp_path / "known")
    raced, runners = kept_counts.kept_models_for(known, "cpu", str(tmp_path), print)
    assert not runners
    assert all("has learned from 16 of these 16 pictures" in one.out for one in raced)
