import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cellbench.data.images import (
    decode_image,
    encode_png,
    image_size,
    read_image,
    stored_size,
)
from cellbench.errors import UserError

RNG = np.random.default_rng(3)
COLOURS = RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)


def save(path, array_or_image, **options):
    image = array_or_image
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    image.save(path, **options)
    return path


def png_header(width, height):
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_rgb_comes_back_as_it_was_stored(tmp_path):
    pixels = read_image(save(tmp_path / "a.png", COLOURS))
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, COLOURS)


def test_our_png_is_lossless():
    np.testing.assert_array_equal(decode_image(encode_png(COLOURS), name="x"), COLOURS)
    assert stored_size(encode_png(COLOURS), name="x") == (9, 7)


def test_grey_is_three_equal_channels(tmp_path):
    pixels = read_image(save(tmp_path / "a.png", COLOURS[:, :, 0]))
    for channel in range(3):
        np.testing.assert_array_equal(pixels[:, :, channel], COLOURS[:, :, 0])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_scaled_to_their_own_range_and_never_clipped(tmp_path, suffix):
    grey = np.linspace(1000, 4095, 63).round().astype(np.uint16).reshape(7, 9)
    pixels = read_image(save(tmp_path / f"a{suffix}", grey))
    expected = np.rint((grey - 1000.0) / 3095 * 255)
    np.testing.assert_allclose(pixels[:, :, 0], expected, atol=1)
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert len(np.unique(pixels)) > 60


def test_big_endian_sixteen_bit_tiff_is_read_by_value(tmp_path):
    grey = np.array([[0, 256], [512, 1020]], np.uint16)
    image = Image.frombytes("I;16B", (2, 2), grey.astype(">u2").tobytes())
    image.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[:, :, 0], [[0, 64], [128, 255]])


def test_floats_with_nan_are_scaled_and_nan_is_black(tmp_path):
    values = np.array([[0.0, 0.5], [1.0, np.nan]], np.float32)
    pixels = read_image(save(tmp_path / "a.tif", values))
    np.testing.assert_array_equal(pixels[:, :, 0], [[0, 128], [255, 0]])


def test_a_flat_sixteen_bit_picture_is_black_and_no_division_by_zero(tmp_path):
    assert not read_image(save(tmp_path / "a.png", np.full((3, 3), 700, np.uint16))).any()


def test_transparency_is_laid_on_white_for_pictures_and_on_black_for_dots(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0] = [[255, 0, 0, 255], [9, 9, 9, 0], [0, 0, 0, 128]]
    path = save(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(read_image(path)[0], [[255, 0, 0], [255] * 3, [127] * 3])
    np.testing.assert_array_equal(
        read_image(path, background=0)[0], [[255, 0, 0], [0] * 3, [0] * 3]
    )


def test_palettes_become_their_colours(tmp_path):
    image = Image.fromarray(COLOURS[:2, :4]).quantize(8)
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "a.png", image)), np.asarray(image.convert("RGB"))
    )


def test_a_transparent_palette_entry_shows_the_ground(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((1, 0), 1)
    path = save(tmp_path / "a.gif", image, transparency=0)
    np.testing.assert_array_equal(read_image(path)[0], [[255] * 3, [200, 0, 0]])


def test_cmyk_becomes_rgb(tmp_path):
    image = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    pixels = read_image(save(tmp_path / "a.tif", image))
    np.testing.assert_array_equal(pixels, np.broadcast_to([0, 255, 255], (4, 4, 3)))
    lossy = read_image(save(tmp_path / "a.jpg", image)).astype(int)
    assert abs(lossy - [0, 255, 255]).max() < 8


def test_one_bit_is_black_and_white(tmp_path):
    mask = COLOURS[:, :, 0] > 128
    pixels = read_image(save(tmp_path / "a.png", mask))
    np.testing.assert_array_equal(pixels[:, :, 1], mask * 255)


def test_exif_orientation_is_ignored_since_points_are_in_stored_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", COLOURS, exif=exif)
    np.testing.assert_array_equal(read_image(path), COLOURS)
    assert image_size(path) == (9, 7)


def test_of_several_pages_the_first_is_read(tmp_path):
    first, second = Image.fromarray(COLOURS), Image.new("RGB", (5, 5))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), COLOURS)


def test_the_name_does_not_decide_the_format(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode_png(COLOURS))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), COLOURS)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_a_truncated_picture_is_one_sentence_naming_the_file(tmp_path, suffix, kept):
    big = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut{suffix}", big)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(UserError, match=rf"cut\{suffix} is damaged"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".gif"])
def test_a_picture_cut_anywhere_is_refused_or_still_whole(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", COLOURS)
    data, whole = path.read_bytes(), read_image(path)
    for length in range(len(data)):
        try:
            pixels = decode_image(data[:length], name="cut")
        except UserError:
            continue
        np.testing.assert_array_equal(pixels, whole)


def test_damaged_bytes_never_escape_as_another_error(tmp_path):
    rng = np.random.default_rng(0)
    for suffix in (".png", ".jpg", ".tif", ".gif", ".webp"):
        good = np.frombuffer(save(tmp_path / f"a{suffix}", COLOURS).read_bytes(), np.uint8)
        for _ in range(60):
            bad = good.copy()
            places = rng.integers(0, len(bad), 3)
            bad[places] = rng.integers(0, 256, 3)
            try:
                decode_image(bad.tobytes(), name="bad")
            except UserError as error:
                assert str(error).startswith("bad ")  # noqa: PT017


def test_an_empty_file_says_so(tmp_path):
    (tmp_path / "none.png").touch()
    for read in (read_image, image_size):
        with pytest.raises(UserError, match=r"none\.png is empty"):
            read(tmp_path / "none.png")


def test_text_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("1 2\n")
    with pytest.raises(UserError, match=r"a\.png is damaged or no picture"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("side", [8_945, 9_600, 12_000, 60_000])
def test_an_enormous_picture_is_refused_from_its_header(tmp_path, side):
    (tmp_path / "big.png").write_bytes(png_header(side, side))
    for read in (read_image, image_size):
        with pytest.raises(
            UserError, match=r"big\.png has .* px and would take .* --max-picture-mb"
        ):
            read(tmp_path / "big.png")


def test_the_largest_allowed_picture_is_not_refused_by_its_size(tmp_path):
    side = 8_944
    (tmp_path / "a.png").write_bytes(png_header(side, side))
    assert image_size(tmp_path / "a.png") == (side, side)


def test_the_limit_is_in_bytes_and_an_environment_variable(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png_header(400, 400))  # 1.92 MB as it is used
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "1")
    with pytest.raises(UserError, match=r"400x400 px and would take 1\.92 MB"):
        image_size(tmp_path / "a.png")
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "2")
    assert image_size(tmp_path / "a.png") == (400, 400)
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "٣")
    with pytest.raises(UserError, match="whole number of megabytes"):
        image_size(tmp_path / "a.png")


def test_a_progressive_jpeg_takes_more_than_another(tmp_path, monkeypatch):
    image = Image.new("RGB", (400, 400))
    image.save(tmp_path / "a.jpg")
    image.save(tmp_path / "p.jpg", progressive=True)
    monkeypatch.setenv("CELLBENCH_MAX_PICTURE_MB", "2")
    assert image_size(tmp_path / "a.jpg") == (400, 400)
    with pytest.raises(UserError, match=r"would take 2\.4 MB"):
        image_size(tmp_path / "p.jpg")


def test_a_jpeg_of_very_many_scans_is_refused_from_its_header(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(COLOURS).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    (tmp_path / "a.jpg").write_bytes(data[:-2] + last * 200 + data[-2:])
    with pytest.raises(UserError, match=r"in 2\d\d scans"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1", "CMYK", "I;16", "F", "LA"])
def test_bands_give_what_the_whole_picture_gives(tmp_path, monkeypatch, mode):
    noise = RNG.integers(0, 256, (37, 23, 4), dtype=np.uint8)
    image = Image.fromarray(noise, "RGBA") if mode == "RGBA" else None
    if mode in ("I;16", "F"):
        image = Image.fromarray(noise[:, :, 0].astype(np.uint16 if mode == "I;16" else np.float32))
    image = image or Image.fromarray(noise[:, :, :3]).convert(mode)
    path = save(tmp_path / "a.tif", image)
    whole = read_image(path)
    monkeypatch.setattr("cellbench.data.images._BAND_PIXELS", 40)
    np.testing.assert_array_equal(read_image(path), whole)
    if mode in ("RGB", "P", "1", "CMYK", "L"):
        np.testing.assert_array_equal(whole, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"tEXt", b"IEND"])
def test_a_png_with_a_wrong_checksum_is_refused(tmp_path, kind):
    info = PngInfo()
    info.add_text("a", "b")
    data = bytearray(save(tmp_path / "a.png", COLOURS, pnginfo=info).read_bytes())
    at = data.index(kind)
    (length,) = struct.unpack(">I", data[at - 4 : at])
    data[at + 4 + length] ^= 1
    with pytest.raises(UserError, match="damaged"):
        decode_image(bytes(data), name="a.png")


def test_digits_of_netpbm_are_read_up_to_a_limit(tmp_path, monkeypatch):
    (tmp_path / "a.ppm").write_bytes(b"P3\n2 1\n255\n1 2 3 4 5 6\n")
    np.testing.assert_array_equal(read_image(tmp_path / "a.ppm"), [[[1, 2, 3], [4, 5, 6]]])
    (tmp_path / "b.ppm").write_bytes(b"P3\n3000 1100\n255\n1 ")
    with pytest.raises(UserError, match="decimal digits"):
        read_image(tmp_path / "b.ppm")


def test_what_is_no_file_says_so(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_image(tmp_path / "a.png")
    with pytest.raises(UserError, match="is not a file"):
        read_image(tmp_path)


def test_helper_programs_are_never_started(tmp_path):
    script = io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(UserError, match="no picture"):
        decode_image(script, name="a.eps")
