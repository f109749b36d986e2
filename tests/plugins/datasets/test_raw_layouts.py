import numpy as np
import pytest
from PIL import Image

from cellbench.data.importing import import_set
from cellbench.data.manifests import published_files
from cellbench.errors import UserError
from cellbench.registry import DATASETS


def test_adis_dots_are_red_and_survive_jpeg_noise(home, tmp_path):
    places = [(10, 20), (40, 41), (149, 0), (0, 149)]
    for kind in ("images", "annotations"):
        (tmp_path / "adipocyte_data" / kind).mkdir(parents=True)
    name = "0-11900_GTEX-13QJC_Adipose-Subcutaneous.jpeg"
    grey = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "adipocyte_data" / "images" / name)
    dots = np.zeros((150, 150, 3), np.uint8)
    for x, y in places:
        dots[y, x, 0] = 255
    Image.fromarray(dots).save(
        tmp_path / "adipocyte_data" / "annotations" / name, quality=100, subsampling=0
    )
    stored = import_set("adi", tmp_path).stored
    (only,) = stored.ids
    assert only == name.removesuffix(".jpeg")
    assert stored.group(only) == "GTEX-13QJC"
    assert {(x - 0.5, y - 0.5) for x, y in stored.sample(only).points.tolist()} == set(places)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_mbms_set_pixels_are_its_cells(home, tmp_path, mode):
    folder = tmp_path / "MBM_data"
    folder.mkdir()
    dots = Image.new("1", (30, 30))
    dots.putpixel((29, 4), 1)
    dots.putpixel((28, 4), 1)
    for donor in ("0001", "0020"):
        Image.new("RGB", (30, 30)).save(folder / f"BM_GRAZ_HE_{donor}_01_000.png")
        dots.convert(mode).save(folder / f"BM_GRAZ_HE_{donor}_01_dots_000.png")
    stored = import_set("mbm", tmp_path).stored
    assert stored.ids == ["BM_GRAZ_HE_0001_01_000", "BM_GRAZ_HE_0020_01_000"]
    assert [stored.group(i) for i in stored.ids] == ["0001", "0020"]
    np.testing.assert_array_equal(stored.sample(stored.ids[0]).points, [[28.5, 4.5], [29.5, 4.5]])


def test_vggs_neighbouring_pixels_are_different_cells(home, tmp_path):
    dots = np.zeros((8, 8, 4), np.uint8)
    dots[2, 3:6] = (255, 0, 0, 255)
    Image.new("RGB", (8, 8)).save(tmp_path / "001cell.png")
    Image.fromarray(dots).save(tmp_path / "001dots.png")
    stored = import_set("vgg", tmp_path).stored
    np.testing.assert_array_equal(stored.sample("001").points, [[3.5, 2.5], [4.5, 2.5], [5.5, 2.5]])


@pytest.mark.parametrize("name", ["adi", "mbm", "vgg", "dcc"])
def test_every_set_says_what_the_protocol_needs(name):
    dataset = DATASETS.build({"type": name})
    assert dataset.name == name
    assert sum(dataset.parts[:2]) + (77 if dataset.parts[2] is None else dataset.parts[2]) == (
        dataset.images
    )
    assert dataset.simulator == f"{name}-sim"
    published = published_files(dataset)
    if name == "dcc":
        assert published is None
        assert dataset.archives == ()
    else:
        assert len(published.files) == 2 * dataset.images
        assert all(len(digest) == 64 for digest in published.files.values())
        assert not any(path.startswith("/") or ".." in path for path in published.files)
        assert dataset.archives


@pytest.mark.parametrize("name", ["adi", "mbm", "vgg", "dcc"])
def test_an_unrelated_folder_is_no_set(tmp_path, name):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "deep" / "holiday.png")
    with pytest.raises(UserError, match="name the raw copy"):
        DATASETS.build({"type": name}).scan(tmp_path)
