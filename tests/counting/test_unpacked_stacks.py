"""Claims about the planes of stacks that are counted each."""

import io
import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellbench.counting.unpacked_stacks import unpack_stack
from cellbench.counting.written_files import is_export
from cellbench.data.planes import PlaneChoice, selects_every_plane, single_planes
from cellbench.data.reader import ReadOptions, read_numbers, read_whole
from cellbench.errors import UserError


def unpack(path, folder, page="all", **choice):
    return unpack_stack(path, "0" * 64, PlaneChoice(page=page, **choice), folder, lambda done: None)


@pytest.fixture
def stack(tmp_path):
    """Three time points of two slices in two channels, 16 bits, with the size of a pixel."""
    planes = np.random.default_rng(0).integers(0, 4000, (3, 2, 2, 19, 23), dtype=np.uint16)
    path = tmp_path / "movie.ome.tif"
    sizes = {"PhysicalSizeX": 0.325, "PhysicalSizeY": 0.5}
    named = {"axes": "TZCYX", "Channel": {"Name": ["DAPI", "GFP"]}, **sizes}
    tifffile.imwrite(path, planes, ome=True, metadata=named)
    return path, planes


@pytest.mark.parametrize(
    ("page", "every"),
    [(None, False), ("3", False), ("Z=1,T=2", False), ("all", True), ("ALL ", True),
     ("T=all", True), ("Z=3, T = all", True), ("tall", False), ("all=3", False)],
)  # fmt: skip
def test_which_choices_are_of_every_plane(page, every):
    assert selects_every_plane(PlaneChoice(page=page)) is every


def test_each_plane_is_what_naming_it_alone_reads(stack, tmp_path):
    path, planes = stack
    found = unpack(path, tmp_path / "planes", channel="gfp")
    labels = [(one.label, one.file.name.rpartition("-")[0]) for one in found]
    wanted = [f"T{t}_Z{z}" for t in (1, 2, 3) for z in (1, 2)]
    assert labels == [(label, f"movie.ome_{label}") for label in wanted]
    for one in found:
        t, z = int(one.label[1]) - 1, int(one.label[-1]) - 1
        alone = ReadOptions(PlaneChoice(channel="GFP", page=f"T={t + 1},Z={z + 1}"))
        values, _, size_um = read_numbers(one.file, ReadOptions())
        np.testing.assert_array_equal(values, planes[t, z, 1])
        assert values.dtype == np.uint16
        assert one.notes == read_numbers(path, alone)[1]
        assert one.pixel_size_um == (0.325, 0.5)
        assert size_um == pytest.approx((0.325, 0.5), rel=1e-6)
        np.testing.assert_array_equal(read_whole(one.file).pixels, read_whole(path, alone).pixels)


def test_an_axis_that_is_named_is_parted_and_the_others_are_projected(stack, tmp_path):
    path, planes = stack
    found = unpack(path, tmp_path, "T=all", channel="1", project="max")
    assert [one.label for one in found] == ["T1", "T2", "T3"]
    for number, one in enumerate(found):
        np.testing.assert_array_equal(tifffile.imread(one.file), planes[number, :, 0].max(0))
        assert "max over 2 z slices" in one.notes
    one_slice = unpack(path, tmp_path, "z=2,t=all", channel="1")
    for number, one in enumerate(one_slice):
        np.testing.assert_array_equal(tifffile.imread(one.file), planes[number, 1, 0])


def test_colour_pages_keep_their_colours_and_the_order_of_many(tmp_path):
    frames = np.random.default_rng(1).integers(0, 255, (11, 8, 9, 3), dtype=np.uint8)
    path = tmp_path / "pages.tif"
    tifffile.imwrite(path, frames, photometric="rgb")
    found = unpack(path, tmp_path / "planes")
    assert sorted(one.file.name for one in found) == [one.file.name for one in found]
    for frame, one in zip(frames, found, strict=True):
        np.testing.assert_array_equal(read_whole(one.file).pixels, frame)


def test_pictures_of_several_sizes_in_one_file_are_pictures_each(tmp_path):
    path = tmp_path / "two.tif"
    first, second = np.zeros((8, 9), np.uint8), np.full((7, 6), 99, np.uint8)
    with tifffile.TiffWriter(path) as writer:
        writer.write(first, metadata=None)
        writer.write(second, metadata=None)
    found = unpack(path, tmp_path / "planes")
    assert [one.label for one in found] == ["P1", "P2"]
    for wanted, one in zip((first, second), found, strict=True):
        np.testing.assert_array_equal(tifffile.imread(one.file), wanted)


def test_stacks_of_several_in_one_file_give_every_plane(tmp_path):
    rng = np.random.default_rng(7)
    stacks = [rng.integers(0, 99, (3, 8, 9), np.uint8), rng.integers(0, 99, (2, 7, 6), np.uint8)]
    path = tmp_path / "positions.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for stack in stacks:
            writer.write(stack, metadata={"axes": "TYX"})
    for page in ("all", "T=all"):
        found = unpack(path, tmp_path / "planes", page)
        assert [one.label for one in found] == ["P1_T1", "P1_T2", "P1_T3", "P2_T1", "P2_T2"]
        for plane, one in zip([*stacks[0], *stacks[1]], found, strict=True):
            np.testing.assert_array_equal(tifffile.imread(one.file), plane)
        assert found[-1].notes == ("picture 2 of 2", "time point 2 of 2")
    with pytest.raises(UserError, match=r"Picture 1 of .* has 3 time points and --page is 'Z=all'"):
        unpack(path, tmp_path / "none", "Z=all")


@pytest.mark.parametrize("kind", ["float64", "float16", "uint8", "bool"])
def test_numbers_of_every_type_stay_as_they_are(tmp_path, kind):
    planes = (np.random.default_rng(2).random((2, 6, 5)) * 3).astype(kind)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, planes, photometric="minisblack")
    for number, one in enumerate(unpack(path, tmp_path / "planes"), start=1):
        alone = ReadOptions(PlaneChoice(page=str(number)))
        np.testing.assert_array_equal(
            read_numbers(one.file, ReadOptions())[0], read_numbers(path, alone)[0]
        )


def test_a_file_of_one_plane_stays_where_it_is(tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "photo.png")
    Image.new("L", (5, 4)).save(tmp_path / "photo.tif")
    for name in ("photo.png", "photo.tif"):
        assert unpack(tmp_path / name, tmp_path / "planes") == []
    (red,) = unpack(tmp_path / "photo.png", tmp_path / "planes", channel="red")
    assert tifffile.imread(red.file).shape == (4, 5)


def test_planes_are_written_once_and_always_the_same(stack, tmp_path):
    path, _ = stack
    first = unpack(path, tmp_path / "planes", channel="1")
    before = {one.file: (one.file.stat().st_mtime_ns, one.file.read_bytes()) for one in first}
    first[0].file.unlink()
    first[1].file.write_bytes(b"changed")
    again = unpack(path, tmp_path / "planes", channel="1")
    assert again == first
    for number, one in enumerate(again):
        moment, data = before[one.file]
        assert one.file.read_bytes() == data
        assert number < 2 or one.file.stat().st_mtime_ns == moment
    other = unpack(path, tmp_path / "planes", channel="2")
    assert not {one.file for one in other} & set(before)


def _described(file, description, planes=1):
    values = np.zeros((planes, 6, 5), np.uint8)
    options = {"photometric": "minisblack", "metadata": None, "software": False}
    tifffile.imwrite(file, values, description=description, **options)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-9]),
        lambda file: _described(file, '{"notes": [], "um_per_px": [0, 0]}'),
        lambda file: _described(file, '{"notes": [], "um_per_px": [NaN, -1]}'),
        lambda file: _described(file, '{"notes": [], "um_per_px": null}', planes=2),
        lambda file: os.truncate(file, 3_000_000_000),
        lambda file: file.symlink_to(file.rename(file.with_name("x"))),
    ],
    ids=["cut short", "no edges", "no numbers", "two planes", "3 GB", "link"],
)
def test_planes_that_this_count_did_not_write_are_written_again(stack, tmp_path, spoil):
    path, _ = stack
    file = unpack(path, tmp_path / "planes", "Z=1,T=all", channel="1")[0].file
    data = file.read_bytes()
    spoil(file)
    first = unpack(path, tmp_path / "planes", "Z=1,T=all", channel="1")[0]
    assert first.pixel_size_um == (0.325, 0.5)
    assert not file.is_symlink()
    assert file.read_bytes() == data


def test_files_of_planes_are_known_as_written(stack, tmp_path):
    for one in unpack(stack[0], tmp_path / "planes", channel="1"):
        assert is_export(one.file, one.file.parent)
    assert not is_export(tmp_path / "planes" / "mine.tif", tmp_path / "planes")


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({}, "has 2 channels (1 DAPI, 2 GFP) and 3 time points"),
        ({"channel": "1", "project": "max"}, "leaves no planes of"),
        ({"channel": "1", "page": "S=all"}, "it takes all, T=all, Z=all"),
        ({"channel": "1", "page": "T=all,T=all"}, "it takes all, T=all, Z=all"),
        ({"channel": "1", "page": "T=1,T=all"}, "is 'T=1,T=all'; it takes all, T=all, Z=all"),
        ({"channel": "1", "page": "T=all"}, "has 2 z slices; name what is counted"),
        ({"channel": "1", "page": "all,all"}, "it takes all, T=all, Z=all"),
        ({"channel": "1", "page": "T=all,Z=9"}, "and --page is 'Z=9'; it takes"),
    ],
)
def test_what_cannot_be_parted_is_one_sentence(stack, tmp_path, choice, words):
    with pytest.raises(UserError) as error:
        unpack(stack[0], tmp_path / "planes", **choice)
    assert words in str(error.value)
    assert not list((tmp_path / "planes").glob("*"))


def test_a_page_and_every_page_of_the_only_axis_are_refused_as_they_were_given():
    with pytest.raises(UserError, match="is '1,T=all'; it takes all, T=all"):
        single_planes({"T": 3}, PlaneChoice(page="1,T=all"), name="movie.tif")


def test_an_endless_stack_is_refused():
    with pytest.raises(UserError, match="90000 planes and at most 4096"):
        single_planes({"T": 300, "Z": 300}, PlaneChoice(page="all"), name="long.tif")


def test_an_animation_gives_its_frames(tmp_path):
    frames = [Image.new("L", (6, 5), level) for level in (0, 80, 160)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    (tmp_path / "film.gif").write_bytes(stream.getvalue())
    found = unpack(tmp_path / "film.gif", tmp_path / "planes")
    assert [int(read_numbers(one.file, ReadOptions())[0].max()) for one in found] == [0, 80, 160]
