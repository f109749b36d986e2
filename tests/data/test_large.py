"""Claims about pictures that are read part by part."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellbench.data.images import TooLarge, read_image
from cellbench.data.large import LargePicture, picture_size, read_picture
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
}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_those_of_the_picture_read_at_once(tmp_path, kind):
    array, options = KINDS[kind]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, **options)
    whole, large = read_image(path), LargePicture(path)
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
    assert isinstance(read_picture(tmp_path / "a.tif"), np.ndarray)
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "1")
    large = read_picture(tmp_path / "a.tif")
    assert isinstance(large, LargePicture)
    large.close()
    assert picture_size(tmp_path / "a.tif") == (500, 400)
    for read in (read_picture, picture_size):
        with pytest.raises(TooLarge, match="500x400 px"):
            read(tmp_path / "a.png")


def test_what_cannot_be_read_in_parts_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("cellbench.data.large._LARGEST_SEGMENT", 10_000)
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "1")
    tifffile.imwrite(tmp_path / "strip.tif", np.zeros((400, 500), np.uint8), rowsperstrip=400)
    with pytest.raises(UserError, match="one of its strips takes"):
        read_picture(tmp_path / "strip.tif")
    Image.new("CMYK", (500, 400)).save(tmp_path / "cmyk.tif")
    with pytest.raises(UserError, match="it is SEPARATED"):
        read_picture(tmp_path / "cmyk.tif")


def test_a_cut_file_is_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((400, 500), np.uint8), tile=(64, 64), compression="zlib")
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "1")
    large = LargePicture(path)
    large._page.dataoffsets = tuple(offset + 7 for offset in large._page.dataoffsets)
    with pytest.raises(UserError, match="is damaged, or compressed in a way"):
        _ = large[:10, :10]
    large.close()
