"""Claims about which pictures a method has learned from, and which it may be judged on."""

from types import SimpleNamespace

from annotation_samples import copied_as_own

from cellbench import import_own
from cellbench.counting import learned_pictures
from cellbench.counting.learned_pictures import held_out, pictures_learned_from
from cellbench.data.stored_set import open_set


def test_a_picture_is_known_again_whatever_it_is_called(home, monkeypatch, tmp_path):
    nuclei = open_set("nuclei")
    seen, new = nuclei.ids[:3], nuclei.ids[60:66]
    copied_as_own(tmp_path / "own", [*seen, *new], nuclei)
    stored = import_own("copies", tmp_path / "own")
    run = SimpleNamespace(record={"dataset": "nuclei", "manifest_hash": nuclei.manifest_hash,
                                  "protocol": "v1", "split": 0})  # fmt: skip
    parts = SimpleNamespace(train=seen[:2], val=[seen[2], nuclei.ids[100]], test=new)
    monkeypatch.setattr(learned_pictures, "make_split", lambda *given, **named: parts)
    assert pictures_learned_from(run, stored) == ["p00", "p01", "p02"]
    assert pictures_learned_from(run, nuclei) == sorted([*seen, nuclei.ids[100]])
    trained = dict(run.record)
    corrected = {**trained, "dataset": "copies", "manifest_hash": "0" * 64}
    run.record = {**corrected, "kept_model": {"name": "seen", "learned_from": [trained]}}
    assert pictures_learned_from(run, stored) == ["p00", "p01", "p02"]
    run.record["kept_model"] = {"learned_from": [{"dataset": 3}, "nuclei"]}
    assert pictures_learned_from(run, stored) is None
    run.record = {**trained, "manifest_hash": "0" * 64}
    assert pictures_learned_from(run, stored) is None
    run.record["dataset"] = "nowhere"
    assert pictures_learned_from(run, stored) is None


def test_a_method_is_judged_on_pictures_that_it_has_not_learned_from(home, monkeypatch, tmp_path):
    nuclei = open_set("nuclei")
    seen, tested, neither = nuclei.ids[:3], nuclei.ids[60:63], nuclei.ids[90:92]
    copied_as_own(tmp_path / "own", [*seen, *tested, *neither], nuclei)
    stored = import_own("copies", tmp_path / "own")
    images = [{"id": image_id, "truth": 1, "prediction": 1.0} for image_id in reversed(tested)]
    run = SimpleNamespace(record={"dataset": "nuclei", "manifest_hash": nuclei.manifest_hash,
                                  "protocol": "v1", "split": 0, "images": images})  # fmt: skip
    parts = SimpleNamespace(train=seen[:2], val=seen[2:], test=tested)
    monkeypatch.setattr(learned_pictures, "make_split", lambda *given, **named: parts)
    assert held_out(run, nuclei) == tested[::-1]  # in the record's order
    assert held_out(run, stored) == ["p03", "p04", "p05", "p06", "p07"]
    run.record["manifest_hash"] = "0" * 64  # of a revision that is not on this disk
    assert held_out(run, nuclei) == tested[::-1]
    assert held_out(run, stored) == list(stored.ids)
    run.record |= {"protocol": "everything", "manifest_hash": nuclei.manifest_hash}
    assert held_out(run, nuclei) == []
    assert held_out(run, stored) == []
