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
    (folder / "counts").mkdir()
    Image.new("L", (4, 4)).save(folder / "counts" / "drawn.png")
    listed = list_pictures([folder], recursive=True, without=folder / "counts")
    assert sorted(names(listed)) == ["B µm Ø.TIF", "a.png", "a.png"]
    assert not [one for one in listed.skipped if "--recursive" in one.reason]


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
