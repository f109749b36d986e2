"""Claims about the files below a folder: each is a picture or is named with its reason."""

import pytest
from PIL import Image

from cellbench.counting.picture_list import list_pictures
from cellbench.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """A folder as it comes off a Mac, a Windows share and a microscope."""
    place = tmp_path / "photos"
    (place / "well B2").mkdir(parents=True)
    (place / ".hidden").mkdir()
    for name in ("a.png", "B µm Ø.TIF", "well B2/a.png", ".hidden/a.png"):
        Image.new("L", (4, 4)).save(place / name, format="PNG")
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "note.txt", "slide.ims", "x.VSI"):
        (place / name).write_bytes(b"x")
    (place / "link.png").symlink_to("a.png")
    return place


def names(listed):
    return [path.name for path in listed.pictures]


def test_every_file_is_a_picture_or_has_a_reason(folder):
    listed = list_pictures([folder])
    assert names(listed) == ["B µm Ø.TIF", "a.png"]
    reasons = {one.path.name: one.reason for one in listed.skipped}
    assert len(reasons) + 2 == len(list(folder.iterdir()))
    assert "--recursive" in reasons["well B2"]
    assert "same file" in reasons["link.png"]
    assert "hidden" in reasons["._a.png"]
    assert "Imaris" in reasons["slide.ims"]
    assert {one.path.name for one in listed.skipped if one.picture} == {"slide.ims", "x.VSI"}


def test_folders_within_are_looked_into_where_asked(folder):
    listed = list_pictures([folder], recursive=True)
    assert sorted(names(listed)) == ["B µm Ø.TIF", "a.png", "a.png"]
    assert not [one for one in listed.skipped if "--recursive" in one.reason]


def counts_in(place):
    """What `count` writes."""
    (place / "pictures").mkdir(parents=True, exist_ok=True)
    (place / "napari").mkdir(exist_ok=True)
    for name in ("counts.csv", "points.csv", "method.json", "skipped.csv", "lock"):
        (place / name).write_text("x")
    Image.new("L", (4, 4)).save(place / "pictures" / "a-0a1b2c3d.png")
    (place / "napari" / "a-0a1b2c3d.csv").write_text("x")


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("out", ["counts", ".", "elsewhere"])
def test_what_a_count_wrote_is_not_counted(folder, out, recursive):
    place = folder / out
    counts_in(place)
    before = [*names(list_pictures([folder / "well B2"])), "B µm Ø.TIF", "a.png"]
    for tables in (place, folder / "counts2"):
        listed = list_pictures([folder], recursive=recursive, without=tables)
        assert sorted(names(listed)) == sorted(before if recursive else before[1:])
        reasons = {one.path: one.reason for one in listed.skipped if place in one.path.parents
                   or one.path == place}  # fmt: skip
        told = [path for path, reason in reasons.items() if reason.startswith("`cellbench count`")]
        assert bool(told) == (tables != place)
        assert place / "pictures" / "a-0a1b2c3d.png" not in reasons


@pytest.mark.parametrize("counted", [False, True])
def test_pictures_of_ones_own_in_the_folder_of_the_tables_are_counted(tmp_path, counted):
    place = tmp_path / "photos" / "sub"
    (place / "pictures").mkdir(parents=True)
    for name in ("b.png", "pictures/c.png"):
        Image.new("L", (4, 4)).save(place / name)
    Image.new("L", (4, 4)).save(tmp_path / "photos" / "a.png")
    if counted:
        counts_in(place)
    listed = list_pictures([tmp_path / "photos"], recursive=True, without=place)
    assert names(listed) == ["a.png", "b.png", "c.png"]
    flat = list_pictures([tmp_path / "photos"], without=place)
    assert [one.path for one in flat.skipped if "--recursive" in one.reason] == [place]


def test_a_folder_of_a_count_alone_is_named_as_such(tmp_path):
    counts_in(tmp_path / "counts")
    with pytest.raises(UserError, match="no picture but those that `cellbench count` wrote"):
        list_pictures([tmp_path / "counts"], recursive=True)


def test_links_that_lead_in_a_circle_end(folder):
    (folder / "well B2" / "again").symlink_to(folder, target_is_directory=True)
    assert len(list_pictures([folder], recursive=True).pictures) == 3


def test_a_folder_without_pictures_says_what_it_has(tmp_path):
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.vsi").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no picture that can be read: a\.vsi: it is Olympus"):
        list_pictures([tmp_path / "only"])
    (tmp_path / "deep" / "er").mkdir(parents=True)
    with pytest.raises(UserError, match="--recursive"):
        list_pictures([tmp_path / "deep"])


def test_pictures_are_named_below_the_folder_that_was_named(tmp_path, monkeypatch):
    for name in ("drug_trial/a.png", "drug_trial/day 1/b.png", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = list_pictures([tmp_path / "drug_trial", tmp_path / "c.png"], recursive=True)
    assert [listed.below[path] for path in listed.pictures] == ["a.png", "day 1/b.png", "c.png"]
    monkeypatch.chdir(tmp_path / "drug_trial")
    assert set(list_pictures(["."], recursive=True).below.values()) == {"a.png", "day 1/b.png"}


def test_of_several_folders_each_picture_has_the_name_of_its_own(tmp_path):
    for name in ("control", "drug"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"")
    (tmp_path / "x.png").write_bytes(b"")
    named = [tmp_path / "control", tmp_path / "drug", tmp_path / "x.png"]
    listed = list_pictures(named)
    assert list(listed.below.values()) == ["control/1.png", "drug/1.png", "x.png"]
