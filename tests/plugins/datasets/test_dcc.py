"""DCC has not been available to us: drawn copies in each layout that its users describe."""

import numpy as np
import pytest
from PIL import Image

from cellbench.data.importing import import_set
from cellbench.data.splits import make_split
from cellbench.errors import UserError
from cellbench_plugins.datasets.dcc import rare_pixels

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def truth(index):
    """Cells of image `index`, as pixels (column, row); some images have none."""
    rng = np.random.default_rng(index)
    flat = rng.choice(60 * 50, size=index % 9, replace=False)
    return sorted((int(f % 60), int(f // 60)) for f in flat)


def picture(index):
    rng = np.random.default_rng(1000 + index)
    return Image.fromarray(rng.integers(90, 160, (50, 60), dtype=np.uint8))


def annotation(index, ground, dot):
    image = Image.new("RGB", (60, 50), ground)
    for place in truth(index):
        image.putpixel(place, dot)
    return image


def raw(folder, *, train="trainval", counts=(100, 77), ground=WHITE, dot=BLACK, stem="{:03d}"):
    for part, count, start in ((train, counts[0], 0), ("test", counts[1], 100)):
        (folder / part).mkdir(parents=True)
        for index in range(start, start + count):
            name = stem.format(index)
            picture(index).save(folder / part / f"{name}cell.png")
            annotation(index, ground, dot).save(folder / part / f"{name}dots.png")
    return folder


def converted(folder, *, shared=False, images="images"):
    for part, count, start in (("train", 100, 0), ("test", 77, 100)):
        place = folder / "GT" / part if shared else folder / part / "GT"
        place.mkdir(parents=True)
        (folder / part / images).mkdir(parents=True)
        for index in range(start, start + count):
            picture(index).save(folder / part / images / f"{index}.png")
            lines = "".join(f"{x} {y}\n" for x, y in truth(index))
            (place / f"{index}.txt").write_text(lines)
    return folder


def check(stored, index, name):
    expected = np.array(truth(index), np.float32).reshape(-1, 2) + 0.5
    found = stored.sample(name).points
    np.testing.assert_array_equal(np.array(sorted(found.tolist())).reshape(-1, 2), expected)


@pytest.mark.parametrize(
    ("ground", "dot", "said"), [(WHITE, BLACK, "dark"), (BLACK, WHITE, "bright")]
)
def test_the_raw_layout_is_taken_whatever_the_polarity(home, tmp_path, ground, dot, said):
    report = import_set("dcc", raw(tmp_path / "DCC", ground=ground, dot=dot).parent)
    stored = report.stored
    assert report.images == 177
    for index in (0, 5, 99):
        check(stored, index, f"train-{index:03d}")
    check(stored, 105, "test-105")
    assert (stored.part("train-007"), stored.part("test-100")) == ("train", "test")
    notes = "\n".join(report.notes)
    assert f"the {said} one, was taken for the dots. (" in notes
    assert "No list of the published files of DCC exists" in notes
    split = make_split(stored)
    assert (len(split.train), len(split.val), len(split.test)) == (70, 30, 77)
    assert all(name.startswith("test-") for name in split.test)


@pytest.mark.parametrize("shared", [False, True])
def test_the_converted_layout_is_taken(home, tmp_path, shared):
    report = import_set("dcc", converted(tmp_path / "dcc", shared=shared))
    assert report.images == 177
    check(report.stored, 8, "train-8")
    check(report.stored, 107, "test-107")
    assert report.stored.part("train-8") == "train"
    assert "0.5 was added. (" in "\n".join(report.notes)


def test_parts_may_number_their_images_alike(home, tmp_path):
    folder = tmp_path / "dcc"
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
        picture(len(part)).save(folder / part / "1_cell.tif")
        annotation(5, WHITE, BLACK).save(folder / part / "1_dots.tif")
    assert import_set("dcc", folder).stored.ids == ["test-1", "train-1"]


def test_one_part_alone_is_not_dcc(home, tmp_path):
    folder = raw(tmp_path / "dcc", counts=(3, 0))
    with pytest.raises(UserError, match="one part of DCC"):
        import_set("dcc", folder)


@pytest.mark.parametrize("layout", [raw, converted])
def test_a_missing_partner_is_named(home, tmp_path, layout):
    folder = layout(tmp_path / "dcc")
    gone = "trainval/003dots.png" if layout is raw else "train/GT/3.txt"
    (folder / gone).unlink()
    with pytest.raises(UserError, match="1 image of dcc without annotation: "):
        import_set("dcc", folder)


@pytest.mark.parametrize(
    ("ground", "dot"),
    [
        (WHITE, BLACK),
        (BLACK, WHITE),
        (BLACK, (255, 0, 0)),
        (WHITE, (255, 0, 0)),
        (BLACK, (1, 1, 1)),
        ((128, 128, 128), (129, 128, 128)),
    ],
)
def test_of_two_colours_the_rarer_one_is_the_dots(ground, dot):
    pixels = np.asarray(annotation(8, ground, dot))
    read = rare_pixels(pixels)
    expected = {(x + 0.5, y + 0.5) for x, y in truth(8)}
    assert {tuple(p) for p in read.points.tolist()} == expected


def test_lossy_noise_is_no_dot():
    rng = np.random.default_rng(0)
    pixels = rng.integers(240, 256, (50, 60, 3), dtype=np.uint8)
    pixels[:20] = 255
    pixels[10, 20] = 30
    np.testing.assert_array_equal(rare_pixels(pixels).points, [[20.5, 10.5]])


def test_one_colour_is_no_cells_and_a_note():
    read = rare_pixels(np.full((5, 5, 3), 255, np.uint8))
    assert read.points.shape == (0, 2)
    assert read.points.dtype == np.float32
    assert "without cells" in read.notes[0]


def test_touching_dots_are_each_a_cell_and_a_note():
    pixels = np.zeros((9, 9, 3), np.uint8)
    pixels[3, 3] = pixels[4, 4] = 255
    read = rare_pixels(pixels)
    assert len(read.points) == 2
    assert "Some dots touch" in read.notes[1]
