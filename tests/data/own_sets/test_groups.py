"""Claims about groups that a column of a table names."""

import pytest

from cellbench.data.own_sets.groups import group_pictures
from cellbench.errors import UserError

PICTURES = ("day1/a.png", "day2/a.png", "day2/b.tif")


def grouped(root, *lines, pictures=PICTURES):
    table = root / "donors.csv"
    table.write_text("\n".join(["image,donor", *lines]))
    found, used = group_pictures("donor", [root / name for name in pictures], [table], root)
    assert used == table
    return [found[root / name] for name in pictures]


@pytest.mark.parametrize(
    "lines",
    [
        ("day1/a.png,m1", "day2/a.png,m2", "b,m3"),
        ("day1\\a.png,m1", "Day2\\A.png,m2", "b.tif,m3"),
        (r"C:\x\day1\a.png,m1", r"C:\x\day2\a.png,m2", "d:/b.tif,m3"),
        ("./day1/a.png,m1", "in/day2/a.png,m2", "other/b.tif,m3"),
        ("day2/b_mask.png,m3", "day2/a.png,m2", "day1/a.png,m1"),
    ],
)
def test_pictures_of_one_name_have_the_groups_of_their_folders(tmp_path, lines):
    assert grouped(tmp_path, *lines) == ["m1", "m2", "m3"]


def test_one_line_without_folders_is_of_every_picture_of_its_name(tmp_path):
    assert grouped(tmp_path, "a.png,m1", "b.tif,m2") == ["m1", "m1", "m2"]


def test_a_path_below_the_folder_comes_before_one_that_only_ends_alike(tmp_path):
    pictures = ("day1/a.png", "old/day1/a.png")
    lines = ("old/day1/a.png,m2", "day1/a.png,m1")
    assert grouped(tmp_path, *lines, pictures=pictures) == ["m1", "m2"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("a.png,m1", "a.png,m2", "b.tif,m1"), "has donor m1 and m2 for day1/a.png"),
        (("x/a.png,m1", "y/a.png,m2", "b.tif,m1"), "has donor m1 and m2 for day1/a.png"),
        (("day1/a.png,m1", "day1/a.png,m2", "b.tif,m1"), "has donor m1 and m2 for day1/a.png"),
        (("day1/a.png,m1", "b.tif,m1"), "has no donor of day2/a.png"),
        (("day1/a.png,", "day2/a.png,m2", "b.tif,m1"), "has no donor of day1/a.png"),
    ],
)
def test_a_picture_with_two_groups_or_none_is_refused(tmp_path, lines, said):
    with pytest.raises(UserError, match=said):
        grouped(tmp_path, *lines)
