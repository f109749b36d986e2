"""Claims about what a set keeps of a picture."""

import numpy as np
import pytest
import tifffile
from containers import byte_scene, scene
from PIL import Image

from cellbench.data.images import decode_image
from cellbench.data.kept_pictures import keep_picture
from cellbench.data.planes import PlaneChoice
from cellbench.data.reader import ReadOptions, read_whole
from cellbench.errors import UserError


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_a_plain_picture_keeps_its_bytes(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(byte_scene()).save(path)
    kept = keep_picture(path)
    assert kept.picture == path.read_bytes()
    assert (kept.suffix, kept.size, kept.notes) == (suffix, (256, 256), ())


def test_a_deep_picture_is_kept_as_count_reads_it(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.rint(100 + scene() * 2).astype(np.uint16))
    kept = keep_picture(path)
    assert kept.suffix == ".png"
    np.testing.assert_array_equal(kept.picture, read_whole(path).pixels)


def test_a_turned_picture_is_kept_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(byte_scene()[:100]).save(tmp_path / "a.png", exif=exif)
    kept = keep_picture(tmp_path / "a.png")
    assert kept.size == (100, 256)
    assert kept.notes == ("Turned by 90 degrees as its orientation states.",)
    np.testing.assert_array_equal(kept.picture[:, :, 0], np.rot90(byte_scene()[:100], -1))


def test_a_plane_of_a_stack_is_kept_where_it_is_named(tmp_path):
    path = tmp_path / "a.tif"
    stack = np.stack([np.full_like(byte_scene(), 30), byte_scene()])
    tifffile.imwrite(path, stack, photometric="minisblack")
    with pytest.raises(UserError, match="2 pages; name what is counted"):
        keep_picture(path)
    kept = keep_picture(path, ReadOptions(PlaneChoice(page="2")))
    assert not isinstance(kept.picture, bytes)
    np.testing.assert_array_equal(kept.picture[:, :, 0], byte_scene())
    assert decode_image(path.read_bytes(), name="a").max() == 30
