"""A folder with annotations in any format becomes the same set, and contradictions are named."""

import json
import os
import shutil
import sys
from unicodedata import normalize

import numpy as np
import pytest
from annotation_samples import FORMATS, WHOLE_PIXELS, copy_pictures, nuclei_pictures
from PIL import Image

from cellbench import count, import_own, run, verify
from cellbench.counting.corrected_tables import REGIONS_HEAD
from cellbench.data.named_dataset import find_dataset
from cellbench.data.own_sets.own_import import plan_import
from cellbench.data.set_damage import verify_set
from cellbench.data.splits import SPLITS, make_split
from cellbench.data.stored_set import open_set, own_sets
from cellbench.errors import UserError
from cellbench.ranking.statistics import image_errors
from cellbench.records.store import load_records


@pytest.fixture(scope="module")
def pictures():
    return nuclei_pictures(6)


@pytest.fixture
def folder(tmp_path, pictures):
    copy_pictures(pictures, tmp_path / "in")
    return tmp_path / "in"


def cells_of(pictures):
    return {name: points for name, (_, points) in pictures.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_cells(name, tmp_path, pictures, home):
    folder = tmp_path / "in"
    cells = copy_pictures(dict(list(pictures.items())[:2]), folder)
    FORMATS[name](cells, folder)
    um_per_px = 0.5 if name.endswith("-um") else None
    stored = import_own("mine", folder, um_per_px=um_per_px)
    assert stored.ids == sorted(cells)
    for image_id, points in cells.items():
        sample = stored.sample(image_id)
        assert sample.count == len(points)
        if name == "counts-only":
            assert len(sample.points) == 0
            continue
        near = 0.75 if name in WHOLE_PIXELS else 0.01
        for axis in (0, 1):  # in any order
            np.testing.assert_allclose(
                np.sort(sample.points[:, axis]), np.sort(points[:, axis]), atol=near
            )


def test_an_own_set_goes_by_its_name_with_groups_splits_and_a_radius(folder, pictures, home):
    FORMATS["text"](cells_of(pictures), folder)
    import_own("mine", folder, group="^([0-9]{3})_", um_per_px=0.5)
    assert own_sets() == ["mine"]
    stored = open_set("mine")
    assert {stored.group(i) for i in stored.ids} == {f"00{n}" for n in range(6)}
    assert find_dataset("mine").name == "mine"
    assert stored.sample(stored.ids[0]).pixel_size_um == 0.5
    assert verify_set(stored) == []
    from cellbench.config.compose import resolve

    config = resolve("methods/bloblog.py", dataset="mine")
    assert config.data.set == "mine"
    assert config.data.radius_px == pytest.approx(stored.manifest.own.spacing_px / 2, abs=0.3)
    tested = [i for split in SPLITS for i in make_split(stored, split=split).test]
    assert sorted(tested) == stored.ids  # fewer than 40: each is tested once


def test_folds_never_divide_a_group(tmp_path, home):
    cells = copy_pictures(nuclei_pictures(12), tmp_path / "in")
    FORMATS["text"](cells, tmp_path / "in")
    import_own("mine", tmp_path / "in", group="^0[0-9]([0-9])_")
    stored = open_set("mine")
    for split in SPLITS:
        parts = make_split(stored, split=split)
        groups = [{stored.group(i) for i in part} for part in (parts.train, parts.val, parts.test)]
        assert all(groups)
        assert not (groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2])
        assert sorted(parts.train + parts.val + parts.test) == stored.ids


def test_a_record_has_the_groups_of_its_images_and_is_drawn_by_them(tmp_path, home):
    cells = copy_pictures(nuclei_pictures(12), tmp_path / "in")
    FORMATS["text"](cells, tmp_path / "in")
    stored = import_own("mine", tmp_path / "in", group="^0[0-9]([0-9])_")
    done = run("methods/meancount.py", dataset="mine", store=str(tmp_path / "store"))
    (own,) = load_records(tmp_path / "store", "mine").runs
    assert own.groups == {i: stored.group(i) for i in own.image_ids}
    assert image_errors([[own]]).cluster_count == len(set(own.groups.values()))
    assert verify(done.record_file).same


def test_the_same_folder_has_the_same_identity(folder, pictures, home, monkeypatch, tmp_path):
    FORMATS["text"](cells_of(pictures), folder)
    first = import_own("mine", folder)
    monkeypatch.setenv("CELLBENCH_HOME", str(tmp_path / "elsewhere"))
    assert import_own("yours", folder).manifest_hash == first.manifest_hash


def test_groups_come_from_a_column(folder, pictures, home):
    FORMATS["text"](cells_of(pictures), folder)
    lines = [f"{name}.png,donor{n % 2}" for n, name in enumerate(sorted(pictures))]
    (folder / "groups.csv").write_text("\n".join(["Image,Donor", *lines]))
    stored = import_own("mine", folder, group="donor")
    assert {stored.group(i) for i in stored.ids} == {"donor0", "donor1"}


def test_nothing_is_kept_where_it_is_not_confirmed(folder, pictures, home):
    FORMATS["text"](cells_of(pictures), folder)
    assert import_own("mine", folder, confirm=lambda understood: False) is None
    assert own_sets() == []


def spoil_outside(folder, first, cells):
    (folder / f"{first}.txt").write_text("10 10\n300 12.5\n")


def spoil_corner(folder, first, cells):
    for name, points in cells.items():
        np.savetxt(folder / f"{name}.txt", points / 4)


def spoil_swapped(folder, first, cells):
    for name, points in cells.items():
        np.savetxt(folder / f"{name}.txt", points[:, ::-1])


def spoil_no_cell(folder, first, cells):
    for name in cells:
        (folder / f"{name}.txt").write_text("")


def spoil_nine_pixels(folder, first, cells):
    around = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(-1, 2)
    pixels = (cells[first][:, None] + around).reshape(-1, 2)
    np.savetxt(folder / f"{first}.txt", pixels.clip(1, 250))


def spoil_missing_annotation(folder, first, cells):
    (folder / f"{first}.txt").unlink()


def spoil_missing_picture(folder, first, cells):
    (folder / f"{first}.png").unlink()


def spoil_two_formats(folder, first, cells):
    FORMATS["dot-pictures"]({first: cells[first][1:]}, folder)


def spoil_two_places(folder, first, cells):
    FORMATS["label-masks"]({first: (cells[first] + 40) % 250}, folder)


def spoil_size(folder, first, cells):
    for name in cells:
        (folder / f"{name}.txt").unlink()
    FORMATS["dot-pictures"](cells, folder)
    Image.open(folder / f"{first}_dots.png").resize((128, 128)).save(folder / f"{first}_dots.png")


def spoil_stack(folder, first, cells):
    image = Image.open(folder / f"{first}.png").convert("L")
    image.save(folder / f"{first}.tif", save_all=True, append_images=[image])
    (folder / f"{first}.png").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_outside, "1 of 2 points outside its picture of 256x256 px"),
        (spoil_corner, "in the upper left corner"),
        (spoil_swapped, "x and y are swapped"),
        (spoil_no_cell, "no cell in any"),
        (spoil_nine_pixels, "one dot was drawn as several pixels"),
        (spoil_missing_annotation, "1 of 6 pictures have no annotation"),
        (spoil_missing_picture, "has no picture"),
        (spoil_two_formats, "take the wrong one out"),
        (spoil_two_places, "cells at other places"),
        (spoil_size, "both must be of one size"),
        (spoil_stack, "has 2"),
    ],
    ids=lambda value: getattr(value, "__name__", "")[6:],
)
def test_what_contradicts_itself_is_refused_by_name(spoil, words, folder, pictures, home):
    cells = cells_of(pictures)
    FORMATS["text"](cells, folder)
    first = sorted(cells)[0]
    spoil(folder, first, cells)
    with pytest.raises(UserError) as refusal:
        import_own("mine", folder)
    message = str(refusal.value)
    assert words in message
    assert "\n" not in message
    if spoil not in (spoil_corner, spoil_swapped, spoil_no_cell):
        assert first in message
    assert own_sets() == []


@pytest.mark.parametrize("cell", ["12.5", "", "-3", "nan", "many", "1e12"])
@pytest.mark.parametrize("apart", [False, True])
def test_a_cell_of_a_table_of_counts_that_is_no_count_is_named(
    cell, apart, folder, pictures, home, tmp_path
):
    table = (tmp_path if apart else folder) / "counts.csv"
    lines = [f"{name}.png,{cell if n == 2 else 7}" for n, name in enumerate(sorted(pictures))]
    table.write_text("\n".join(["image,count", *lines]))
    with pytest.raises(UserError) as refusal:
        import_own("mine", folder, annotations=table if apart else None)
    assert str(refusal.value).startswith(f"{table}, line 4: {cell!r} is no number of cells; write")


def test_counts_of_regions_are_not_taken_for_those_of_pictures(folder, pictures, home):
    """As `view` writes them: a picture has the line of each region that was drawn in it."""
    table = folder / "regions-corrected.csv"
    lines = [f"{name}.png,{region},3,,2,400" for name in pictures for region in ("a", "b")]
    table.write_text("\n".join([",".join(REGIONS_HEAD), *lines]))
    with pytest.raises(UserError, match="counts of regions, and not of whole pictures"):
        import_own("mine", folder)
    assert own_sets() == []


def test_a_table_that_names_the_pictures_is_never_passed_over(folder, pictures, home):
    FORMATS["text"](cells_of(pictures), folder)
    first = sorted(pictures)[0]
    table = folder / "all.csv"
    for text, words in (
        (f"image,x,y\n{first}.png,3,4\n{first}.png,3,four\n", "line 3: 'four' is no number"),
        (f"image,count\n{first}.png,3\nnext\n", "line 3: it has 1 fields and not 2"),
    ):
        table.write_text(text)
        with pytest.raises(UserError, match=words):
            import_own("mine", folder)
    for text in ("image,count\nelse.png,12.5\n", f"image,donor\n{first}.png,3\n"):
        table.write_text(text)
        assert any("not read: all.csv" in note for note in import_own("mine", folder).notes)
        shutil.rmtree(home / "data/mine")


def test_the_name_of_a_published_set_is_refused(folder, pictures, home):
    FORMATS["text"](cells_of(pictures), folder)
    for name in ("vgg", "vgg-sim", "mine-sim", "../x", "A"):
        with pytest.raises(UserError):
            import_own(name, folder)


@pytest.mark.parametrize("edge", [float("nan"), float("inf"), 1e300, 0, -0.5, 1e-9, "0.5"])
def test_an_edge_of_a_pixel_that_no_picture_has_is_refused(edge, folder, pictures, home):
    FORMATS["text"](cells_of(pictures), folder)
    with pytest.raises(UserError, match=r"give a number from 0\.0001 to 1000") as refusal:
        import_own("mine", folder, um_per_px=edge)
    assert str(edge) in str(refusal.value)
    assert own_sets() == []
    with pytest.raises(UserError, match=r"at least 0\.0001 and at most 1000"):
        count(folder, um_per_px=edge, out=folder / "counts")
    assert not (folder / "counts").exists()


def test_annotations_may_be_in_another_folder_and_bare_pictures_left_out(
    folder, pictures, home, tmp_path
):
    cells = cells_of(pictures)
    (tmp_path / "notes").mkdir()
    FORMATS["qupath"](dict(list(cells.items())[:5]), tmp_path / "notes")
    understood = plan_import("mine", folder, annotations=tmp_path / "notes", skip_bare=True)
    assert len(understood.pictures) == 5
    assert "1 pictures without annotation were left out." in understood.notes


def test_agreeing_annotations_and_other_files_are_taken_and_said(folder, pictures, home):
    cells = cells_of(pictures)
    FORMATS["text"](cells, folder)
    FORMATS["dot-pictures"](cells, folder)
    (folder / "README.txt").write_text("made on a Monday\n")
    (folder / "scan.log").write_text("x")
    stored = import_own("mine", folder)
    assert stored.manifest.own.formats == ("table of points or counts",)
    assert "Neither pictures nor annotations, and not read: scan.log, README.txt." in stored.notes


def test_a_changed_config_is_data_and_checked(folder, pictures, home):
    from cellbench.config.compose import resolve

    FORMATS["text"](cells_of(pictures), folder)
    import_own("mine", folder)
    file = home / "data/mine/data.json"
    config = json.loads(file.read_text())
    config["data"]["radius_px"] = 7.0
    file.write_text(json.dumps(config))
    assert resolve("methods/bloblog.py", dataset="mine").data.radius_px == 7.0
    config["data"]["augment"] = [{"type": "os.system"}]
    file.write_text(json.dumps(config))
    with pytest.raises(UserError):
        resolve("methods/bloblog.py", dataset="mine")


def test_a_killed_import_leaves_no_set(folder, pictures, home, monkeypatch):
    FORMATS["text"](cells_of(pictures), folder)
    monkeypatch.setattr(shutil, "rmtree", lambda *a, **k: None)
    understood = plan_import("mine", folder)
    (folder / understood.pictures[-1].path.name).unlink()
    from cellbench.data.own_sets.own_import import write_planned_set

    with pytest.raises(UserError, match="does not exist"):
        write_planned_set(understood)
    assert own_sets() == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_unicode_are_taken(tmp_path, pictures, home):
    folder = tmp_path / os.fsdecode(b"in\xff")
    cells = copy_pictures(dict(list(pictures.items())[:3]), folder)
    FORMATS["text"](cells, folder)
    first = sorted(cells)[0]
    for suffix in (".png", ".txt"):
        (folder / f"{first}{suffix}").rename(folder / os.fsdecode(b"\xfe" + suffix.encode()))
    (folder / os.fsdecode(b"\xfd.log")).write_text("x")
    import_own("mine", folder, group="(.)")
    stored = open_set("mine")
    assert len(stored) == 3
    assert verify_set(stored) == []
    assert sum(stored.sample(i).count for i in stored.ids) == sum(map(len, cells.values()))


def test_a_pipe_and_a_folder_without_rights_hang_nothing(folder, pictures, home):
    FORMATS["text"](cells_of(pictures), folder)
    first = sorted(pictures)[0]
    (folder / f"{first}.txt").unlink()
    os.mkfifo(folder / f"{first}.txt")
    with pytest.raises(UserError, match="it is a pipe"):
        import_own("mine", folder)


def test_what_could_not_be_read_is_said_where_annotations_lack(folder, pictures, home):
    (folder / "README.txt").write_text("Nuclei of spring, five fields each\n")
    (folder / "cells.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"no annotation that can be read: .*cells\.xlsx is a work"):
        plan_import("mine", folder)
    first, *others = cells_of(pictures)
    (folder / f"{first}.txt").write_text("1.5 2.5\n")
    with pytest.raises(UserError, match=rf"{len(others)} of .* Not read: .*cells\.xlsx"):
        plan_import("mine", folder)


def test_a_column_of_kinds_is_not_one_of_pictures(folder, pictures, home):
    for name, points in cells_of(pictures).items():
        lines = [f"{x:.2f},{y:.2f},{'pos' if i % 2 else 'neg'}" for i, (x, y) in enumerate(points)]
        (folder / f"{name}.csv").write_text("\n".join(["x,y,label", *lines]) + "\n")
    found = plan_import("mine", folder)
    assert found.counts == [len(points) for points in cells_of(pictures).values()]
    assert any("labels neg, pos are counted together" in note for note in found.notes)


def test_pictures_of_one_name_are_told_apart_by_the_folders_that_a_table_names(
    tmp_path, pictures, home
):
    lines, wanted = ["image,x,y"], {}
    for at, (path, points) in enumerate(list(pictures.values())[:3]):
        folder = tmp_path / "in" / ("mouse1", "mouse2/left", "mouse3/left")[at]
        folder.mkdir(parents=True)
        shutil.copy(path, folder / "field.png")
        named = ("mouse1\\field.png", "C:\\data\\mouse2\\left\\field.png", "in/mouse3/left/field")[
            at
        ]
        lines += [f"{named},{x:.2f},{y:.2f}" for x, y in points]
        wanted["-".join(folder.relative_to(tmp_path / "in").parts) + "-field"] = len(points)
    table = tmp_path / "in" / "points.csv"
    table.write_text("\n".join(lines) + "\n")
    found = plan_import("mine", tmp_path / "in")
    assert {picture.image_id: picture.count for picture in found.pictures} == wanted
    table.write_text("image,x,y\n/,1.5,2.5\n")
    with pytest.raises(UserError, match="no picture in"):
        plan_import("mine", tmp_path / "in")
    table.write_text("image,x,y\nleft/field.png,1.5,2.5\n")
    with pytest.raises(UserError, match="may be of"):
        plan_import("mine", tmp_path / "in")


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_match_whether_an_umlaut_is_one_character_or_two(forms, tmp_path, pictures, home):
    of_picture, of_text = (lambda text, form=form: normalize(form, text) for form in forms)
    folder = tmp_path / "in"
    cells = copy_pictures(dict(list(pictures.items())[:2]), folder)
    for name in cells:
        (folder / f"{name}.png").rename(folder / of_picture(f"Größe {name}.png"))
    first, second = cells
    (folder / of_text(f"Größe {first}.txt")).write_text("5.5 5.5\n")
    table = f"image,x,y\nGröße {second}.png,7.5,7.5\n"
    (folder / "cells.csv").write_text(of_text(table), encoding="utf-8")
    stored = import_own("mine", folder, group=of_text("(Größe) "))
    assert [stored.sample(image_id).points.tolist() for image_id in stored.ids] == [
        [[5.5, 5.5]],
        [[7.5, 7.5]],
    ]
    assert len({stored.group(image_id) for image_id in stored.ids}) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Bild;Anzahl\n{}.png;7\n", "names bild, anzahl; .* or image and count"),
        ("Bild;X;Y\n{}.png;7,5;8,5\n", "many pictures names them in a column called image"),
        ("image,x,y\n{}.png,7,5,8,5\n", "5 fields and not 3; .* decimal commas need semicolons"),
        ("image;x;y\n{}.png;7\n", "2 fields and not 3; write a field for each column.$"),
    ],
)
def test_a_table_with_other_columns_is_told_which_it_needs(text, words, folder, pictures, home):
    (folder / "Zellen.csv").write_text(text.format(next(iter(pictures))), encoding="latin-1")
    with pytest.raises(UserError, match=words):
        plan_import("mine", folder)
