"""Claims about slides: the level that is needed, places of the file, the extra that is named."""

import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellbench import count
from cellbench.data.large import full_size, open_picture
from cellbench.data.reader import ReadOptions
from cellbench.data.slides import Slide, is_named_as_slide
from cellbench.errors import UserError

# A stand-in for an extra that may not be there, as OpenSlide's library may not.
openslide = pytest.importorskip("openslide", reason="the extra slides is not installed")


def nuclei(edge=1024):
    """(pixels, points): bright round nuclei, 12 px wide, on a dark ground."""
    rng = np.random.default_rng(0)
    points = np.stack(np.meshgrid(*[np.arange(40, edge, 64)] * 2), axis=-1).reshape(-1, 2)
    points = points + rng.integers(-8, 9, points.shape)
    y, x = np.mgrid[-16:17, -16:17]
    spot = 180 * np.exp(-(((x**2 + y**2) / 130) ** 2))
    grey = 12 + rng.normal(0, 2, (edge, edge))
    for across, down in points:
        rows, columns = slice(down - 16, down + 17), slice(across - 16, across + 17)
        part = grey[max(rows.start, 0) : rows.stop, max(columns.start, 0) : columns.stop]
        part += spot[: part.shape[0], : part.shape[1]]
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, 2), points + 0.5


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A tiled pyramid of three levels that is called as a slide, and what is on it."""
    pixels, points = nuclei()
    path = tmp_path_factory.mktemp("slides") / "a.svs"
    with tifffile.TiffWriter(path) as writer:
        for step in (1, 2, 4):
            level = pixels.reshape(1024 // step, step, 1024 // step, step, 3).mean((1, 3))
            writer.write(level.astype(np.uint8), tile=(256, 256), photometric="rgb",
                         subfiletype=int(step > 1))  # fmt: skip
    return path, pixels, points


@pytest.mark.parametrize(("factor", "step"), [(1.0, 1), (0.51, 1), (0.5, 2), (0.3, 2), (0.2, 4)])
def test_the_coarsest_level_is_read_that_is_as_fine_as_what_is_wanted(scanned, factor, step):
    path, pixels, _ = scanned
    slide = Slide(path, factor=factor)
    assert slide.downsample == step
    assert slide.shape == (1024 // step, 1024 // step, 3)
    wanted = pixels.reshape(1024 // step, step, 1024 // step, step, 3).mean((1, 3))
    part = slide[300 // step : 500 // step, 64:128]
    np.testing.assert_array_equal(part, wanted[300 // step : 500 // step, 64:128].astype(np.uint8))
    assert slide[5:5, 0:9].shape == (0, 9, 3)
    assert f"1 : {step}" in slide.notes[0]
    slide.close()


def test_a_range_that_is_given_is_that_of_a_slide_too(scanned):
    slide = Slide(scanned[0], ReadOptions(range=(0, 100), invert=True))
    assert slide.range == (0, 100)
    assert slide[0:64, 0:64].max() > 200
    slide.close()


@pytest.mark.slow
def test_points_and_sizes_are_those_of_the_file_whatever_level_was_read(
    scanned, tmp_path, monkeypatch
):
    path, pixels, points = scanned
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole = count(tmp_path / "a.png", scale=0.5, out=tmp_path / "whole", no_pictures=True)
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "4")
    assert full_size(path) == (1024, 1024)
    found = count(path, scale=0.5, um_per_px=0.5, out=tmp_path / "counts")
    (row,) = found.counts.itertuples()
    assert "of a slide" in row.notes
    assert (row.width_px, row.height_px) == (1024, 1024)
    assert row.per_mm2 == pytest.approx(row.count / 0.512**2)
    assert row.count == pytest.approx(whole.counts["count"].item(), rel=0.05)
    assert row.count == pytest.approx(len(points), rel=0.1)
    placed = found.points[["x_px", "y_px"]].to_numpy()
    nearest = np.linalg.norm(points[:, None] - placed[None], axis=-1).min(axis=1)
    assert np.median(nearest) < 3
    assert placed.max() > 900


def test_a_slide_that_fits_is_read_as_any_tiff(scanned):
    read = open_picture(scanned[0])
    assert isinstance(read.pixels, np.ndarray)


def test_what_is_damaged_is_one_sentence(tmp_path):
    (tmp_path / "a.mrxs").write_bytes(b"\xff\xd8nothing")
    for read in (open_picture, full_size):
        with pytest.raises(UserError, match=r"a\.mrxs is damaged, or no slide") as error:
            read(tmp_path / "a.mrxs")
        assert "\n" not in str(error.value)


def test_without_openslide_the_extra_is_named_and_tiffs_are_read_without(
    scanned, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "openslide", None)
    (tmp_path / "a.mrxs").write_bytes(b"x")
    with pytest.raises(UserError, match=r"is a slide; pip install 'cellbench\[slides\]'"):
        open_picture(tmp_path / "a.mrxs")
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "4")
    large = open_picture(scanned[0], factor=0.25).pixels
    assert (large.downsample, large.shape) == (1.0, (1024, 1024, 3))
    large.close()
    monkeypatch.setattr("cellbench.data.large._LARGEST_SEGMENT", 1000)
    with pytest.raises(UserError, match=r"cannot be read in tiles .* or pip install 'cellbench\["):
        open_picture(scanned[0])
    assert is_named_as_slide(tmp_path / "b.NDPI")
    assert not is_named_as_slide(tmp_path / ".b.ndpi")
