"""Claims about pictures that are read part by part."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellbench.data.images import TooLarge
from cellbench.data.large import LargeTiff, open_picture
from cellbench.data.planes import PlaneChoice
from cellbench.data.reader import ReadOptions, opened_raster, read_whole, size_of
from cellbench.data.resampling import resample
from cellbench.errors import UserError

RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 256, (200, 150), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (200, 150, 3), dtype=np.uint8)

KINDS = {
    "tiled grey": (GREY, {"tile": (32, 48)}),
    "striped grey": (GREY, {"rowsperstrip": 7}),
    "deflated colour": (COLOUR, {"tile": (64, 64), "compression": "zlib", "photometric": "rgb"}),
    "predicted": (GREY, {"tile": (64, 64), "compression": "zlib", "predictor": 2}),
    "16 bits": (GREY.astype(np.uint16) * 11 + 1000, {"tile": (32, 32)}),
    "big-endian": (GREY.astype(np.uint16) * 11, {"tile": (32, 32), "byteorder": ">"}),
    "float": (GREY.astype(np.float32) / 7, {"tile": (32, 32)}),
    "white is zero": (GREY, {"tile": (32, 32), "photometric": "miniswhite"}),
    "bigtiff": (GREY, {"tile": (32, 32), "bigtiff": True}),
    "CMYK": (np.dstack([COLOUR, GREY]), {"tile": (32, 32), "photometric": "separated"}),
    "16-bit colour": (COLOUR.astype(np.uint16) * 9, {"tile": (32, 32), "photometric": "rgb"}),
    "LZW": (GREY, {"tile": (32, 32), "compression": "lzw"}),
    "JPEG": (COLOUR, {"tile": (64, 64), "compression": "jpeg", "photometric": "rgb"}),
    "blank": (GREY.astype(np.uint16) // 64 + 700, {"tile": (32, 32)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_those_of_the_picture_read_at_once(tmp_path, kind):
    array, options = KINDS[kind]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, **options)
    whole, large = read_whole(path).pixels, LargeTiff(path)
    assert large.shape == whole.shape
    np.testing.assert_array_equal(large[:, :], whole)
    for top, bottom, left, right in ((0, 1, 0, 1), (31, 70, 40, 150), (199, 200, 0, 150)):
        np.testing.assert_array_equal(large[top:bottom, left:right], whole[top:bottom, left:right])
    for box in ((10, 20, 60, 90), (-5, -5, 40, 40), (0.5, 3.25, 149, 200)):
        np.testing.assert_array_equal(
            resample(large, box=box, size=(33, 44)), resample(whole, box=box, size=(33, 44))
        )
    large.close()


def test_a_picture_that_does_not_fit_is_read_in_parts_where_it_is_a_tiff(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((400, 500), np.uint8), tile=(64, 64))
    Image.fromarray(np.zeros((400, 500), np.uint8)).save(tmp_path / "a.png")
    assert isinstance(open_picture(tmp_path / "a.tif").pixels, np.ndarray)
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "1")
    large = open_picture(tmp_path / "a.tif").pixels
    assert isinstance(large, LargeTiff)
    large.close()
    assert size_of(tmp_path / "a.tif") == (500, 400)
    for read in (open_picture, size_of):
        with pytest.raises(TooLarge, match="500x400 px"):
            read(tmp_path / "a.png")


def test_what_cannot_be_read_in_parts_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("cellbench.data.large._LARGEST_SEGMENT", 10_000)
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "1")
    tifffile.imwrite(tmp_path / "strip.tif", np.zeros((400, 500), np.uint8), rowsperstrip=400)
    with pytest.raises(UserError, match="one of its strips takes"):
        open_picture(tmp_path / "strip.tif")
    planes = np.zeros((3, 400, 500), np.uint8)
    tifffile.imwrite(tmp_path / "apart.tif", planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(UserError, match="samples a pixel that lie apart"):
        open_picture(tmp_path / "apart.tif")
    turned = [(274, 3, 1, 6, True)]
    tifffile.imwrite(tmp_path / "turned.tif", planes[0], tile=(64, 64), extratags=turned)
    with pytest.raises(UserError, match="its orientation turns it"):
        open_picture(tmp_path / "turned.tif")


def test_a_plane_of_a_large_stack_is_read_in_parts_and_a_projection_is_not(tmp_path, monkeypatch):
    stack = RNG.integers(0, 256, (3, 400, 500), dtype=np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", tile=(64, 64))
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "1")
    large = open_picture(path, ReadOptions(PlaneChoice(page="2"))).pixels
    np.testing.assert_array_equal(large[50:60, 90:99, :][:, :, 0], stack[1, 50:60, 90:99])
    large.close()
    with pytest.raises(UserError, match="name one --channel and one --page"):
        open_picture(path, ReadOptions(PlaneChoice(project="max")))


def test_a_cut_file_is_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((400, 500), np.uint8), tile=(64, 64), compression="zlib")
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "1")
    large = LargeTiff(path)
    large._kept.clear()
    large._page.dataoffsets = tuple(offset + 7 for offset in large._page.dataoffsets)
    with pytest.raises(UserError, match="is damaged, or compressed in a way"):
        _ = large[:10, :10]
    large.close()


def test_a_picture_of_several_has_its_own_pixel_size_in_memory_and_in_parts(tmp_path, monkeypatch):
    path = tmp_path / "two.ome.tif"
    pictures = (np.tile(GREY, (2, 2)), np.tile(GREY, (3, 4)))
    with tifffile.TiffWriter(path, ome=True) as file:
        for picture, edge in zip(pictures, (10.0, 0.25), strict=True):
            own = {"PhysicalSizeX": edge, "PhysicalSizeY": edge, "Channel": {"Name": f"{edge} um"}}
            file.write(picture, tile=(64, 64), metadata={"axes": "YX", **own})
    second = ReadOptions(PlaneChoice(page="2"))
    assert open_picture(path, ReadOptions(PlaneChoice(page="1"))).pixel_size_um == (10.0, 10.0)
    whole = open_picture(path, second)
    assert whole.pixel_size_um == (0.25, 0.25)
    with opened_raster(path, second.planes) as raster:
        assert raster.channel_names == ["0.25 um"]
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "1")
    parts = open_picture(path, second)
    assert isinstance(parts.pixels, LargeTiff)
    assert parts.pixel_size_um == (0.25, 0.25)
    np.testing.assert_array_equal(parts.pixels[:, :], whole.pixels)
    parts.pixels.close()


def test_a_page_of_several_has_the_resolution_of_its_own_tags(tmp_path):
    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(GREY, resolution=(1000, 1000), resolutionunit="CENTIMETER", metadata=None)
        file.write(
            GREY[:, :90], resolution=(20_000, 20_000), resolutionunit="CENTIMETER", metadata=None
        )
    second = open_picture(path, ReadOptions(PlaneChoice(page="2")))
    assert second.pixel_size_um == (0.5, 0.5)
