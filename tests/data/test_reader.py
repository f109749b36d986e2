"""Claims about pictures as they come: one scene in every container counts as the scene does."""

import numpy as np
import pytest
import tifffile
from containers import CELLS, byte_scene, containers, packed_bits, scene
from PIL import Image, ImageOps

from cellbench.counting.trained_counter import TrainedCounter, load_counter
from cellbench.data.hot_pixels import _quantiles
from cellbench.data.images import decode_image
from cellbench.data.intensities import choose_range
from cellbench.data.planes import PlaneChoice
from cellbench.data.reader import ReadOptions, mapped, read_whole, size_of
from cellbench.data.stored_set import open_set
from cellbench.errors import UserError
from cellbench.models.build import build_counter
from cellbench.records.trained_runs import find_trained

KINDS = {container.name: container for container in containers()}


def options(arguments):
    named = dict(zip(arguments[::2], arguments[1::2], strict=True))
    keys = ("channel", "page", "project")
    return ReadOptions(PlaneChoice(*(named.get(f"--{key}") for key in keys)))


@pytest.fixture(scope="module")
def count():
    """Cells by BlobLoG, with the scales and the threshold that it chooses on `nuclei`."""
    network = build_counter({"type": "BlobLoG"}, load_weights=False).eval()
    sigmas = (3.0, 6.0)
    (chosen,) = [
        place
        for place, setting in enumerate(network.settings)
        if setting.view == "luminance"
        and setting.sign == 1
        and (setting.sigmas_px[setting.first], setting.sigmas_px[setting.last]) == sigmas
    ]
    network.setting.fill_(chosen)
    network.threshold.fill_(0.0183)
    counter = TrainedCounter(network, (), 1.0, "float32")
    return lambda pixels: counter.count(np.ascontiguousarray(pixels)).count


@pytest.mark.parametrize("name", KINDS)
def test_the_scene_counts_the_same_in_every_container(tmp_path, count, name):
    container = KINDS[name]
    path = tmp_path / f"a{container.suffix}"
    container.write(path)
    read = read_whole(path, options(container.options))
    assert read.pixels.dtype == np.uint8
    assert abs(count(read.pixels) - CELLS) <= 0.1 * CELLS
    assert size_of(path, options(container.options)) == read.pixels.shape[1::-1]


# A depth, a byte order, a photometric interpretation, an orientation, pages of which one is named,
# and what stretches noise: dim pictures, and one of a dozen levels.
FEW = (
    "uint16 times 257",
    "big-endian",
    "MinIsWhite",
    "Orientation 6 of TIFF",
    "third of the pages",
    "dim with dirt",
    "0 to 12 in 16 bits",
    "opaque: cells alone",
)


@pytest.fixture(scope="module")
def network():
    """Cells by the network that comes along."""
    counter = load_counter(find_trained("nuclei-unet", None), device="cpu")
    return lambda pixels: counter.count(np.ascontiguousarray(pixels)).count


@pytest.fixture(params=["count", "network"])
def either(request):
    """Each of the two that come along."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(
    "name", [*FEW, *(pytest.param(n, marks=pytest.mark.slow) for n in KINDS if n not in FEW)]
)
def test_the_shipped_network_counts_the_scene_in_every_container(tmp_path, network, name):
    path = tmp_path / f"a{KINDS[name].suffix}"
    KINDS[name].write(path)
    pixels = read_whole(path, options(KINDS[name].options)).pixels
    assert abs(network(pixels) - CELLS) <= 0.1 * CELLS


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.options])
def test_a_file_of_several_planes_is_never_its_first(tmp_path, name):
    path = tmp_path / f"a{KINDS[name].suffix}"
    KINDS[name].write(path)
    for read in (read_whole, size_of):
        with pytest.raises(UserError, match=r"\d+ .*; name what is counted with --(page|channel)"):
            read(path)


def test_four_bits_are_sixteen_levels(tmp_path, count):
    packed_bits(tmp_path / "a.tif")
    pixels = read_whole(tmp_path / "a.tif").pixels
    assert set(np.unique(pixels)) <= set(range(0, 256, 17))
    assert count(pixels) == CELLS


def blanks():
    rng = np.random.default_rng(8)
    noise = 100 + rng.normal(0, 3, (256, 256))
    return {
        "8 bits": noise.astype(np.uint8),
        "16 bits": noise.astype(np.uint16),
        "far from zero": (noise + 5000).astype(np.uint16),
        "floats": (noise / 4095).astype(np.float32),
        "about zero": (noise - 100).astype(np.float32),
        "photons": rng.poisson(20, (256, 256)).astype(np.uint16),
        "one value": np.full((256, 256), 700, np.uint16),
        "zero": np.zeros((256, 256), np.uint16),
        "colour": np.dstack([noise.astype(np.uint16)] * 3),
    }


def test_blank_fields_stay_blank(either):
    found = {}
    for name, values in blanks().items():
        pixels = read_array(values)
        found[name] = either(pixels)
        assert pixels.std() < 2, name
    assert sum(found.values()) <= 2, found


def read_array(values):
    return mapped(values, ReadOptions())[0]


@pytest.mark.parametrize("kind", ["hot", "five hot", "dead", "dirt", "hot in a blank field"])
def test_an_outlier_changes_nothing_beyond_itself(either, kind):
    values = np.rint(100 + (scene() - 28) * 2.2).astype(np.uint16)
    if "blank" in kind:
        values = blanks()["16 bits"]
    clean = read_array(values)
    spoiled = values.copy()
    if kind == "dead":
        spoiled[77, 78] = 0
    elif kind == "dirt":
        spoiled[120:130, 3:9] = 60000
    else:
        spoiled[[9, 30, 100, 130, 200][: 5 if "five" in kind else 1], 40] = 65535
    pixels = read_array(spoiled)
    assert abs(either(pixels) - either(clean)) <= 0.1 * either(clean)
    far = np.ones(values.shape, bool)
    rows, columns = np.nonzero(spoiled != values)
    far[rows, columns] = False
    np.testing.assert_allclose(pixels[far].astype(int), clean[far].astype(int), atol=2)


def test_the_numbers_decide_and_not_the_type():
    few = np.rint(scene() / 255 * 12)
    same = [read_array(few.astype(kind)) for kind in ("u1", "u2", "i2", "u4", "f4", "f8")]
    for pixels in same[1:]:
        np.testing.assert_array_equal(pixels, same[0])
    whole = byte_scene()
    for values in (whole.astype(np.uint16), whole.astype(np.uint16) * 257, whole.astype(float)):
        np.testing.assert_array_equal(read_array(values)[:, :, 0], whole)
    np.testing.assert_array_equal(
        read_array((whole.astype(int) - 128).astype(np.int8))[..., 0], whole
    )


def test_a_range_is_the_users_and_invert_turns_it_round(tmp_path):
    values = np.array([[0, 100, 300, 500, 9000]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values)
    read = read_whole(tmp_path / "a.tif", ReadOptions(range=(100, 500)))
    np.testing.assert_array_equal(read.pixels[0, :, 0], [0, 0, 128, 255, 255])
    assert read.range == (100, 500)
    read = read_whole(tmp_path / "a.tif", ReadOptions(range=(100, 500), invert=True))
    np.testing.assert_array_equal(read.pixels[0, :, 0], [255, 255, 128, 0, 0])
    with pytest.raises(UserError, match="--range 5 5 is empty"):
        ReadOptions(range=(5, 5))


def test_pictures_are_turned_as_exif_states(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        path = tmp_path / f"{turn}.png"
        Image.fromarray(pixels).save(path, exif=exif)
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(read_whole(path).pixels, expected)
        assert size_of(path) == expected.shape[1::-1]


def test_a_png_that_states_its_turn_behind_the_pixels_is_turned_too(tmp_path):
    """Where the standard allows it, and Pillow looks for it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    Image.fromarray(byte_scene()[:60]).save(path, exif=exif)
    data = path.read_bytes()
    at = data.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4])
    last = data.index(b"IEND") - 4
    path.write_bytes(data[:at] + data[end:last] + data[at:end] + data[last:])
    assert size_of(path) == (60, 256)
    np.testing.assert_array_equal(read_whole(path).pixels[..., 0], np.rot90(byte_scene()[:60], -1))


def test_quantiles_of_bytes_are_numpys():
    rng = np.random.default_rng(3)
    for shape in ((3, 3), (7, 11), (60, 80)):
        for most in (2, 40, 256):
            values = rng.integers(0, most, shape, dtype=np.uint8)
            shares = (0.0, 0.05, 0.5, 0.95, 1.0)
            np.testing.assert_allclose(
                _quantiles(values, shares), np.quantile(values, shares), rtol=1e-12
            )


def test_transparency_makes_no_edge(tmp_path, count):
    whole = byte_scene()
    alpha = np.full_like(whole, 255)
    alpha[:, 128:] = 0
    Image.fromarray(np.dstack([whole] * 3 + [alpha])).save(tmp_path / "half.png")
    half = read_whole(tmp_path / "half.png")
    assert "transparency" in half.notes[0]
    assert abs(count(half.pixels) - count(read_array(whole[:, :128]))) <= 2


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_published_set_is_read_as_it_always_was(step):
    """Value / 255, bit for bit: the pictures of the set that is shipped."""
    stored = open_set("nuclei")
    for image_id in stored.ids[::step]:
        path = stored.folder / stored.entry(image_id).image
        read = read_whole(path)
        np.testing.assert_array_equal(read.pixels, decode_image(path.read_bytes(), name="x"))
        assert read.range == (0, 255)
        assert not read.notes


def test_an_eight_bit_picture_that_uses_its_range_is_value_over_255():
    rng = np.random.default_rng(2)
    for low, high in ((0, 60), (200, 255), (20, 80)):
        pixels = rng.integers(low, high, (90, 80, 3), dtype=np.uint8)
        assert choose_range(pixels) == choose_range(pixels[:, :, 0])
        assert (choose_range(pixels).low, choose_range(pixels).high) == (0, 255)


def test_the_size_of_a_pixel_is_read(tmp_path):
    grey = byte_scene()
    cases = {
        "ome.ome.tif": ({"metadata": {"PhysicalSizeX": 325, "PhysicalSizeXUnit": "nm",
                                      "PhysicalSizeY": 0.65, "PhysicalSizeYUnit": "µm"}},
                        (0.325, 0.65)),
        "imagej.tif": ({"imagej": True, "resolution": (4.0, 2.0), "metadata": {"unit": "um"}},
                       (0.25, 0.5)),
        "cm.tif": ({"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}, (0.5, 0.5)),
        "screen.tif": ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        "none.tif": ({}, None),
    }  # fmt: skip
    for name, (kept, expected) in cases.items():
        tifffile.imwrite(tmp_path / name, grey, **kept)
        found = read_whole(tmp_path / name).pixel_size_um
        assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"channel": "3"}, r"has no channel '3'; --channel takes 1 DAPI, 2 GFP"),
        ({"channel": "1,2"}, "names 2 channels"),
        ({"channel": "dapi", "page": "Z=1,Z=2"}, "has 3 z slices and --page is 'Z=1,Z=2'"),
        ({"channel": "dapi", "page": "5"}, "has 3 z slices and --page is '5'; it takes 1 to 3"),
        ({"channel": "dapi", "page": "T=1"}, "it takes 1 to 3"),
        ({"channel": "dapi"}, "has 3 z slices; name what is counted with --page or --project max"),
    ],
)
def test_a_plane_that_is_not_there_is_one_sentence(tmp_path, choice, said):
    stack = np.zeros((3, 2, 16, 16), np.uint8)
    named = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, photometric="minisblack", metadata=named)
    with pytest.raises(UserError, match=said):
        read_whole(tmp_path / "a.ome.tif", ReadOptions(PlaneChoice(**choice)))


def test_a_channel_of_one_picture_is_a_mistake_and_one_of_colour_is_a_colour(tmp_path):
    Image.fromarray(byte_scene()).save(tmp_path / "grey.png")
    with pytest.raises(UserError, match="has one channel"):
        read_whole(tmp_path / "grey.png", ReadOptions(PlaneChoice(channel="2")))
    colour = np.zeros((8, 9, 3), np.uint8)
    colour[:, ::2, 1] = 200
    Image.fromarray(colour).save(tmp_path / "rgb.png")
    for named in ("2", "green"):
        read = read_whole(tmp_path / "rgb.png", ReadOptions(PlaneChoice(channel=named)))
        np.testing.assert_array_equal(read.pixels, np.repeat(colour[:, :, 1:2], 3, 2))


def test_three_channels_become_colours(tmp_path):
    stack = np.random.default_rng(1).integers(0, 256, (4, 32, 32), dtype=np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "CYX"})
    read = read_whole(path, ReadOptions(PlaneChoice(channel="4,1,2")))
    np.testing.assert_array_equal(read.pixels, np.moveaxis(stack[[3, 0, 1]], 0, 2))


def test_a_stack_whose_end_is_cut_off_is_no_silent_picture(tmp_path):
    stack = np.random.default_rng(1).integers(0, 256, (6, 32, 40), dtype=np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TYX"})
    whole = path.read_bytes()
    with pytest.raises(UserError, match="has 6 time points"):
        read_whole(path)
    assert read_whole(path, ReadOptions(PlaneChoice(page="6"))).notes == ("time point 6 of 6",)
    path.write_bytes(whole[: -stack[1:].nbytes])
    read = read_whole(path)
    np.testing.assert_array_equal(read.pixels[:, :, 0], stack[0])
    assert read.notes == ("its description declares 6 planes and the file holds 1",)


@pytest.mark.parametrize(
    ("project", "function"),
    [("max", np.max), ("min", np.min), ("mean", np.mean), ("median", np.median)],
)
def test_projections_are_those_of_numpy(tmp_path, project, function):
    stack = np.random.default_rng(1).integers(0, 256, (5, 40, 30), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    asked = ReadOptions(PlaneChoice(project=project), range=(0, 255))
    expected = np.rint(function(stack, axis=0)).astype(np.uint8)
    np.testing.assert_array_equal(read_whole(tmp_path / "a.tif", asked).pixels[:, :, 0], expected)


@pytest.mark.parametrize("photometric", [8, 32803, 32845])
def test_what_is_no_grey_or_colour_is_refused_by_name(tmp_path, photometric):
    array = np.zeros((9, 9, 3) if photometric == 8 else (9, 9), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric=photometric if photometric == 8 else 1)
    data = (tmp_path / "a.tif").read_bytes()
    if photometric != 8:
        entry = b"\x06\x01\x03\x00\x01\x00\x00\x00"
        at = data.index(entry) + len(entry)
        data = data[:at] + photometric.to_bytes(2, "little") + data[at + 2 :]
        (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(UserError, match="save it as RGB or greyscale"):
        read_whole(tmp_path / "a.tif")
