"""Claims about what is kept of a person's changes in a count."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellbench.counting.annotator_agreement import agreement
from cellbench.counting.corrected_set import write_corrected
from cellbench.counting.corrections import (
    ADDED,
    CHECKED,
    REMOVED,
    CorrectionLog,
    annotators_of,
    apply_changes,
    read_changes,
)
from cellbench.counting.counted_folder import CountedFolder, CountedPicture
from cellbench.counting.regions_file import Region, read_regions, regions_of, write_regions
from cellbench.counting.view_session import ViewSession
from cellbench.errors import UserError

POINTS = np.array([[1.5, 2.25], [10.0, 20.0], [10.0, 20.0]])


def test_changes_come_back_as_they_were_made(tmp_path):
    log = CorrectionLog.open(tmp_path)
    log.add("a.png", [(ADDED, 3.25, 4.5), (REMOVED, 1.5, 2.25)])
    log.add("=b.png", [(CHECKED, 0, 0)])
    again = CorrectionLog.open(tmp_path)
    assert again.changes == log.changes
    lines = (tmp_path / "corrected.csv").read_text().splitlines()
    assert lines[0] == "image,x_px,y_px,change,when,sha256"
    assert lines[1].startswith("a.png,3.2500,4.5000,added,20")
    done = apply_changes(POINTS, again.changes["a.png"])
    assert done.kept.tolist() == [False, True, True]
    assert done.added.tolist() == [[3.25, 4.5]]
    assert done.count == 3


def test_undoing_takes_back_whole_actions_one_by_one_after_a_restart_too(tmp_path):
    log = CorrectionLog.open(tmp_path)
    log.add("a", [(ADDED, 1, 1)])
    log.add("b", [(ADDED, 9, 9)])
    log.add("a", [(REMOVED, 10, 20), (REMOVED, 10, 20)])
    log = CorrectionLog.open(tmp_path)
    assert apply_changes(POINTS, log.changes["a"]).count == 2
    assert log.undo("a")
    assert apply_changes(POINTS, log.changes["a"]).count == 4
    assert log.undo("a")
    assert not log.undo("a")
    assert [c.image for c in read_changes(tmp_path / "corrected.csv")] == ["b"]


def test_an_added_cell_that_is_taken_away_is_gone_and_the_method_s_stay():
    class At:
        def __init__(self, kind, x, y):
            self.kind, self.x, self.y = kind, x, y

    changes = [At(ADDED, 5, 5), At(REMOVED, 5, 5), At(REMOVED, 99, 99)]
    done = apply_changes(POINTS, changes)
    assert done.kept.all()
    assert not len(done.added)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30))
def test_any_order_of_changes_counts_as_a_multiset_does(steps):
    class At:
        def __init__(self, kind, x):
            self.kind, self.x, self.y = kind, float(x), 0.0

    points = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    bag = [0, 1, 1]
    for add, x in steps:
        if add:
            bag.append(x)
        elif x in bag:
            bag.remove(x)
    done = apply_changes(points, [At(ADDED if add else REMOVED, x) for add, x in steps])
    assert done.count == len(bag)


@pytest.mark.parametrize(
    "line",
    ["a,1,2,moved,2026-01-01T00:00:00+00:00", "a,nan,2,added,2026-01-01T00:00:00+00:00", "a,1,2",
     "a,1,2,added,2026-01-01T00:00:00", "a,1,2,added,today"],
)  # fmt: skip
def test_a_damaged_line_is_named(tmp_path, line):
    (tmp_path / "corrected.csv").write_text(f"image,x_px,y_px,change,when\n{line}\n")
    with pytest.raises(UserError, match="Line 2 of"):
        CorrectionLog.open(tmp_path)


def test_a_name_of_an_annotator_is_no_path(tmp_path):
    with pytest.raises(UserError, match="no name of an annotator"):
        CorrectionLog.open(tmp_path, "../x")


def test_a_disk_that_is_full_changes_nothing(tmp_path, monkeypatch):
    log = CorrectionLog.open(tmp_path)
    log.add("a", [(ADDED, 1, 1)])

    def full(*args, **kwargs):
        raise UserError("full")

    monkeypatch.setattr("cellbench.counting.corrections.write_atomically", full)
    with pytest.raises(UserError):
        log.add("a", [(ADDED, 2, 2)])
    assert len(log.changes["a"]) == 1


def test_a_region_holds_what_is_inside_of_it_and_has_the_area_of_its_polygon(tmp_path):
    square = Region("r", ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)))
    assert square.area_px == 100
    assert square.holds(np.array([[5, 5], [11, 5], [-1, 5]])).tolist() == [True, False, False]
    assert square.holds(np.zeros((0, 2))).tolist() == []
    concave = Region("c", ((0.0, 0.0), (10.0, 0.0), (5.0, 5.0), (10.0, 10.0), (0.0, 10.0)))
    assert concave.holds(np.array([[8, 5], [3, 5]])).tolist() == [False, True]
    write_regions(tmp_path, {"a": [square], "b": []})
    assert read_regions(tmp_path) == {"a": [square]}


@pytest.mark.parametrize(
    "value", [3, [{"name": "a", "corners": [[0, 0], [1, 1]]}], [{"name": 1, "corners": []}],
              [{"name": "a", "corners": [[0, 0], [1, 1], [1e300, 0]]}]],
)  # fmt: skip
def test_what_is_no_region_is_refused(value):
    with pytest.raises(ValueError, match=r"region"):
        regions_of(value)


def test_people_agree_on_the_pictures_that_both_looked_through(tmp_path):
    pictures = tuple(
        CountedPicture(name, 3.0, (50, 50), POINTS, np.full(3, np.nan, np.float32), "")
        for name in ("a", "b", "c")
    )
    counted = CountedFolder(tmp_path, pictures)
    anna, ben = (CorrectionLog.open(tmp_path, name) for name in ("anna", "ben"))
    anna.add("a", [(ADDED, 1, 1), (ADDED, 2, 2)])
    anna.add("b", [(CHECKED, 0, 0)])
    ben.add("a", [(REMOVED, 10, 20)])
    assert annotators_of(tmp_path) == ["anna", "ben"]
    found = agreement(counted, {"anna": anna, "ben": ben})
    assert found.counts == {"a": (3.0, 5.0, 2.0), "b": (3.0, 3.0, None), "c": (3.0, None, None)}
    by_pair = {(p.first, p.second): (p.pictures, p.mae, p.bias) for p in found.pairs}
    assert by_pair == {
        ("method", "anna"): (2, 1.0, 1.0),
        ("method", "ben"): (1, 1.0, -1.0),
        ("anna", "ben"): (1, 3.0, -3.0),
    }


def folder_of(tmp_path, *pictures):
    return CountedFolder(
        tmp_path,
        tuple(
            CountedPicture(name, 3.0, (50, 50), POINTS, np.full(3, np.nan, np.float32), sha256)
            for name, sha256 in pictures
        ),
    )


def test_changes_do_not_hold_for_another_picture_of_the_name_and_are_kept(tmp_path):
    session = ViewSession(folder_of(tmp_path, ("a.png", "1" * 64)))
    session.change(0, [[ADDED, 1, 1], [REMOVED, 10, 20]])
    other = ViewSession(folder_of(tmp_path, ("a.png", "2" * 64)))
    assert other.outdated == 1
    assert other.picture(0)["added"] == []
    assert not other.picture(0)["counts"]["checked"]
    other.change(0, [[ADDED, 2, 2]])
    assert other.picture(0)["added"] == [[2, 2]]
    other.undo(0)
    assert not other.picture(0)["undo"]
    again = ViewSession(folder_of(tmp_path, ("a.png", "1" * 64)))
    assert again.outdated == 0
    assert again.picture(0)["added"] == [[1, 1]]


def test_a_picture_that_was_moved_takes_its_changes_along(tmp_path):
    counted = folder_of(tmp_path, ("old/a.png", "1" * 64), ("old/b.png", "2" * 64))
    ViewSession(counted).change(0, [[ADDED, 1, 1]])
    moved = ViewSession(folder_of(tmp_path, ("new/a.png", "1" * 64), ("old/b.png", "2" * 64)))
    assert moved.picture(0)["added"] == [[1, 1]]
    moved.change(0, [[ADDED, 2, 2]])
    assert {change.image for change in read_changes(tmp_path / "corrected.csv")} == {"new/a.png"}
    # A copy that is counted beside it has changes of its own.
    both = folder_of(tmp_path, ("new/a.png", "1" * 64), ("copy/a.png", "1" * 64))
    assert ViewSession(both).picture(1)["added"] == []


def test_pictures_that_were_renumbered_keep_their_changes(tmp_path):
    session = ViewSession(folder_of(tmp_path, ("1.png", "1" * 64), ("2.png", "2" * 64)))
    session.change(0, [[ADDED, 1, 1]])
    session.change(1, [[ADDED, 2, 2]])
    again = ViewSession(
        folder_of(tmp_path, ("1.png", "2" * 64), ("2.png", "3" * 64), ("3.png", "1" * 64))
    )
    assert [again.picture(at)["added"] for at in range(3)] == [[[2, 2]], [], [[1, 1]]]
    assert again.outdated == 0
    again.change(1, [[ADDED, 3, 3]])
    kept = {(c.image, c.x, c.sha256[0]) for c in read_changes(tmp_path / "corrected.csv")}
    assert kept == {("1.png", 2, "2"), ("2.png", 3, "3"), ("3.png", 1, "1")}


def test_changes_of_earlier_versions_hold_for_the_picture_of_the_name(tmp_path):
    (tmp_path / "corrected.csv").write_text(
        "image,x_px,y_px,change,when\na.png,1.0,1.0,added,2026-01-01T00:00:00+00:00\n"
    )
    session = ViewSession(folder_of(tmp_path, ("a.png", "1" * 64)))
    assert session.picture(0)["added"] == [[1, 1]]


def test_regions_of_two_people_stay(tmp_path):
    counted = folder_of(tmp_path, ("a.png", "1" * 64), ("b.png", "2" * 64))
    anna, ben = (ViewSession(counted, annotator=name) for name in ("anna", "ben"))
    corners = [[0, 0], [9, 0], [9, 9]]
    anna.change_regions(0, {"added": [{"name": "hers", "corners": corners}]})
    ben.change_regions(1, {"added": [{"name": "his", "corners": corners}]})
    assert {name: [r.name for r in own] for name, own in read_regions(tmp_path).items()} == {
        "a.png": ["hers"], "b.png": ["his"],
    }  # fmt: skip


def test_regions_of_one_picture_that_two_draw_stay_and_both_see_them(tmp_path):
    counted = folder_of(tmp_path, ("a.png", "1" * 64))
    anna, ben = (ViewSession(counted, annotator=name) for name in ("anna", "ben"))
    drawn = {"name": "region 1", "corners": [[0, 0], [9, 0], [9, 9.1]]}
    other = {"name": "region 1", "corners": [[0, 0], [5, 0], [5, 5]]}
    anna.change_regions(0, {"added": [drawn]})
    ben.change_regions(0, {"added": [other]})
    shown = [[r["name"] for r in session.picture(0)["regions"]] for session in (anna, ben)]
    assert shown == [["region 1", "region 1 (2)"]] * 2
    ben.change_regions(0, {"removed": [drawn]})
    anna.change_regions(0, {"removed": [drawn]})  # gone by now
    assert [r["name"] for r in anna.picture(0)["regions"]] == ["region 1 (2)"]


@pytest.mark.parametrize(
    "change", [[], {"others": []}, {"added": {}}, {"removed": [{"name": "x"}]}, None]
)
def test_what_is_no_change_of_regions_is_refused(tmp_path, change):
    session = ViewSession(folder_of(tmp_path, ("a.png", "1" * 64)))
    with pytest.raises(UserError, match="regions"):
        session.change_regions(0, change)
    assert not (tmp_path / "regions.json").exists()


@pytest.mark.parametrize("corner", [{}, [], None, "left"])
def test_a_file_of_regions_with_a_corner_that_is_no_place_is_named(tmp_path, corner):
    region = {"name": "x", "corners": [[corner, 1], [2, 3], [4, 5]]}
    (tmp_path / "regions.json").write_text(json.dumps({"a.png": [region]}))
    with pytest.raises(UserError, match=r"regions\.json cannot be read"):
        read_regions(tmp_path)


def test_a_cell_over_the_border_can_be_taken_away_and_not_added(tmp_path):
    over = np.array([[-0.5, 4.0], [3.0, 4.0]])
    one = CountedPicture("a.png", 2.0, (50, 50), over, np.ones(2, np.float32), "1" * 64)
    session = ViewSession(CountedFolder(tmp_path, (one,)))
    session.change(0, [[REMOVED, -0.5, 4.0]])
    assert session.picture(0)["kept"] == [0, 1]
    with pytest.raises(UserError, match="outside"):
        session.change(0, [[ADDED, -0.5, 4.0]])


def test_a_number_that_was_looked_through_stands(tmp_path):
    none = CountedPicture("a.png", 44.0, (50, 50), None, np.zeros(0, np.float32), "1" * 64)
    session = ViewSession(CountedFolder(tmp_path, (none,)))
    session.change(0, [[CHECKED, 0, 0]])
    assert session.picture(0)["counts"]["corrected"] == 44.0
    found = agreement(session.counted, {"anna": CorrectionLog.open(tmp_path)})
    assert found.counts == {"a.png": (44.0, 44.0)}
    with pytest.raises(UserError, match="Nobody has looked through"):
        write_corrected(session.counted, tmp_path / "set", tmp_path / "cells")
    session.change(0, [[ADDED, 1, 1]])
    assert session.picture(0)["counts"]["corrected"] == 1.0
