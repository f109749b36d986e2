"""One scene in every container that a microscope or a person puts it into."""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

CELLS = 40
EDGE = 256


@cache
def scene(cells: int = CELLS, seed: int = 4) -> np.ndarray:
    """(EDGE, EDGE) floats of 0..255: round bright cells on a dim ground, none touching."""
    rng = np.random.default_rng(seed)
    grid = [(x, y) for x in range(8) for y in range(8)]
    rng.shuffle(grid)
    y, x = np.mgrid[:EDGE, :EDGE]
    picture = 28 + rng.normal(0, 1.5, (EDGE, EDGE))
    for column, row in grid[:cells]:
        centre = 16 + 32 * np.array([column, row]) + rng.uniform(-4, 4, 2)
        picture += rng.uniform(110, 170) * np.exp(
            -((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 30
        )
    return np.clip(picture, 0, 255)


def byte_scene() -> np.ndarray:
    """The scene in whole numbers of 8 bits."""
    return np.rint(scene()).astype(np.uint8)


@dataclass(frozen=True)
class Container:
    """A way to store the scene.

    Attributes:
        name: what it is.
        suffix: of its file.
        write: writes the file.
        options: of `count`, where it needs any.
    """

    name: str
    suffix: str
    write: Callable[[Path], None]
    options: tuple[str, ...] = ()


def containers() -> Iterator[Container]:
    """All of them; each holds the scene, whole and once."""
    yield from _tiff_numbers()
    yield from _tiff_layouts()
    yield from _tiff_colours()
    yield from _plain()
    yield from _stacks()
    yield from _turned()


def _tiff(name: str, array: np.ndarray, *choice: str, **options: object) -> Container:
    return Container(
        name, ".tif", lambda path: tifffile.imwrite(path, array, **options), tuple(choice)
    )


def _tiff_numbers() -> Iterator[Container]:
    picture, whole = scene(), byte_scene()
    dim = np.rint(100 + (picture - 28) * 2.2).astype(np.uint16)
    few = np.rint(picture / 255 * 12)
    hole = picture.astype(np.float32)
    hole[:5] = np.nan
    hole[100:104, 7] = np.inf
    hot = dim.copy()
    hot[3, 250] = 65535
    dirt = dim.copy()
    dirt[120:130, 3:9] = 60000
    arrays = {
        "uint8": whole,
        "uint16, the numbers of 8 bits": whole.astype(np.uint16),
        "uint16 times 257": whole.astype(np.uint16) * 257,
        "12 bits in 16": np.rint(picture * 16).astype(np.uint16),
        "12 bits in the upper end of 16": np.rint(picture * 16).astype(np.uint16) * 16,
        "14 bits in 16": np.rint(picture * 64).astype(np.uint16),
        "16 bits": np.rint(picture * 256).astype(np.uint16),
        "dim 16 bits with an offset": dim,
        "dim with a hot pixel": hot,
        "dim with dirt": dirt,
        "0 to 12 in 8 bits": few.astype(np.uint8),
        "0 to 12 in 16 bits": few.astype(np.uint16),
        "int8": (whole.astype(int) - 128).astype(np.int8),
        "int16 from its least number": (np.rint(picture * 256) - 32768).astype(np.int16),
        "int16 above zero": np.rint(picture * 8).astype(np.int16),
        "uint32": np.rint(picture * 1000).astype(np.uint32),
        "int32": np.rint(picture * 1000).astype(np.int32),
        "float 0 to 1": (picture / 255).astype(np.float32),
        "float 0 to 255": picture.astype(np.float32),
        "float about zero": (picture / 255 - 0.5).astype(np.float32),
        "float16": (picture / 255).astype(np.float16),
        "float64, small": picture * 1e-7,
        "NaN and infinity": hole,
    }
    for name, array in arrays.items():
        yield _tiff(name, array)
    yield _tiff("dim 16-bit colour", np.repeat(dim[..., None], 3, 2), photometric="rgb")


def _tiff_layouts() -> Iterator[Container]:
    deep = np.rint(scene() * 256).astype(np.uint16)
    yield _tiff("big-endian", deep, byteorder=">")
    yield _tiff(
        "big-endian BigTIFF of floats", scene().astype(np.float32), byteorder=">", bigtiff=True
    )
    yield _tiff("tiles", deep, tile=(64, 48))
    for name, options in {
        "LZW": {"compression": "lzw"},
        "LZW with predictor": {"compression": "lzw", "predictor": True},
        "deflate": {"compression": "zlib", "rowsperstrip": 9},
        "zstd": {"compression": "zstd"},
        "lzma": {"compression": "lzma"},
        "packbits": {"compression": "packbits"},
        "floating-point predictor": {"compression": "zlib", "predictor": 3},
    }.items():
        array = scene().astype(np.float32) if "floating" in name else deep
        yield _tiff(name, array, **options)
    yield _tiff("JPEG in TIFF", byte_scene(), compression="jpeg")
    yield _tiff("JPEG 2000 in TIFF", deep, compression="jpeg2000")
    yield Container("pyramid", ".tif", _pyramid)
    yield Container("thumbnail first", ".tif", _thumbnail_first)
    yield Container("small copy behind, unmarked", ".tif", _copy_behind)


def _pyramid(path: Path) -> None:
    whole = byte_scene()
    with tifffile.TiffWriter(path) as writer:
        writer.write(whole, subifds=2, tile=(64, 64))
        writer.write(whole[::2, ::2], subfiletype=1)
        writer.write(whole[::4, ::4], subfiletype=1)


def _thumbnail_first(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(byte_scene()[::8, ::8], subfiletype=1, metadata=None)
        writer.write(byte_scene(), metadata=None)


def _copy_behind(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(byte_scene(), metadata=None)
        writer.write(byte_scene()[::4, ::4], metadata=None)


def _tiff_colours() -> Iterator[Container]:
    whole = byte_scene()
    rgb = np.repeat(whole[..., None], 3, 2)
    opaque = np.full_like(whole, 255)
    deep = np.rint(scene() * 256).astype(np.uint16)
    yield _tiff("MinIsWhite", 255 - whole, photometric="miniswhite")
    yield _tiff("MinIsWhite of 16 bits", 65535 - deep, photometric="miniswhite")
    yield _tiff("RGB", rgb, photometric="rgb")
    yield _tiff("RGB by planes", np.moveaxis(rgb, 2, 0), photometric="rgb", planarconfig="separate")
    yield _tiff("RGB of 16 bits", np.repeat(deep[..., None], 3, 2), photometric="rgb")
    yield _tiff(
        "RGBA of 16 bits",
        np.dstack([deep] * 3 + [np.full_like(deep, 65535)]),
        photometric="rgb",
        extrasamples=["unassalpha"],
    )
    yield _tiff(
        "grey with multiplied alpha",
        np.dstack([whole, opaque]),
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["assocalpha"],
    )
    inks = np.dstack([255 - rgb, np.zeros_like(whole)])
    yield _tiff("CMYK", inks, photometric="separated")
    yield _tiff("CMYK of 16 bits", inks.astype(np.uint16) * 257, photometric="separated")
    ramp = np.repeat((np.arange(256, dtype=np.uint16) * 257)[None], 3, 0)
    yield _tiff("palette", whole, photometric="palette", colormap=ramp)
    yield _tiff("palette turned round", 255 - whole, photometric="palette", colormap=ramp[:, ::-1])
    yield Container("YCbCr", ".tif", lambda p: Image.fromarray(rgb).save(p, compression="jpeg"))


def _plain() -> Iterator[Container]:
    whole = byte_scene()
    grey, rgb = Image.fromarray(whole), Image.fromarray(np.repeat(whole[..., None], 3, 2))
    for suffix, image in {
        ".png": grey, ".jpg": rgb, ".bmp": grey, ".webp": rgb, ".pgm": grey, ".ppm": rgb,
        ".gif": grey, ".jp2": rgb,
    }.items():  # fmt: skip
        yield Container(f"Pillow's {suffix}", suffix, lambda p, i=image: i.save(p))
    few = np.rint(scene() / 255 * 12).astype(np.uint16)
    dim = np.rint(100 + (scene() - 28) * 2.2).astype(np.uint16)
    yield Container("PNG of 16 bits", ".png", lambda p: Image.fromarray(few).save(p))
    yield Container(
        "PNG of 16-bit colour", ".png", lambda p: p.write_bytes(_png16(np.dstack([dim] * 3)))
    )
    yield Container("PPM of 16-bit colour", ".ppm", lambda p: p.write_bytes(_ppm16(dim)))
    yield Container("CMYK JPEG", ".jpg", lambda p: rgb.convert("CMYK").save(p, quality=95))
    yield Container("another name", ".jpg", lambda p: grey.save(p, format="PNG"))
    yield from _transparent(whole)


def _transparent(whole: np.ndarray) -> Iterator[Container]:
    faint = np.clip((whole.astype(int) - 38) * 4, 0, 255).astype(np.uint8)
    for name, alpha in {"cells alone": faint, "nothing": np.zeros_like(whole)}.items():
        image = Image.fromarray(np.dstack([whole] * 3 + [alpha]))
        yield Container(f"opaque: {name}", ".png", lambda p, i=image: i.save(p))
    palette = Image.fromarray(whole).convert("P")
    yield Container(
        "a transparent entry of a palette", ".png", lambda p: palette.save(p, transparency=28)
    )


def _png16(values: np.ndarray) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.png_encode(values))


def _ppm16(values: np.ndarray) -> bytes:
    head = f"P6\n# made by hand\n{EDGE} {EDGE}\n65535\n".encode()
    return head + np.dstack([values] * 3).astype(">u2").tobytes()


def _stacks() -> Iterator[Container]:
    deep = np.rint(scene() * 16).astype(np.uint16)
    ground = np.full_like(deep, 28 * 16)
    stack = np.stack([ground, deep, ground])
    pages = {"photometric": "minisblack"}
    yield _tiff("third of the pages", np.stack([ground, ground, deep]), "--page", "3", **pages)
    yield _tiff("z stack, brightest", stack, "--project", "max", metadata={"axes": "ZYX"}, **pages)
    yield _tiff(
        "z stack last", np.moveaxis(stack, 0, 2), "--page", "2", metadata={"axes": "YXZ"}, **pages
    )
    yield _tiff("ImageJ channels", stack, "--channel", "2", imagej=True, metadata={"axes": "CYX"})
    hyper = np.stack([stack, np.zeros_like(stack)], axis=1)  # Z, C, Y, X
    yield _tiff(
        "ImageJ hyperstack", hyper, "--channel", "1", "--project", "max", imagej=True,
        metadata={"axes": "ZCYX"},
    )  # fmt: skip
    named = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    yield Container(
        "OME channels by name", ".ome.tif",
        lambda p: tifffile.imwrite(p, np.stack([ground, deep]), ome=True, metadata=named, **pages),
        ("--channel", "gfp"),
    )  # fmt: skip
    times = np.stack([hyper[:, 0]] * 2)  # T, Z, Y, X
    yield Container(
        "OME time and depth", ".ome.tif",
        lambda p: tifffile.imwrite(p, times, ome=True, metadata={"axes": "TZYX"}, **pages),
        ("--page", "T=2,Z=2"),
    )  # fmt: skip
    yield _tiff("XY order", deep.T, metadata={"axes": "XY"})
    colours = np.repeat((deep // 16).astype(np.uint8)[None, ..., None], 3, 3)
    film = np.concatenate([np.zeros_like(colours), colours])
    yield _tiff("pages of colour", film, "--page", "2", photometric="rgb")
    yield Container("frames of a GIF", ".gif", _gif, ("--page", "2"))


def _gif(path: Path) -> None:
    first, second = Image.new("L", (EDGE, EDGE), 28), Image.fromarray(byte_scene())
    first.save(path, save_all=True, append_images=[second])


def _turned() -> Iterator[Container]:
    image = Image.fromarray(np.repeat(byte_scene()[..., None], 3, 2))
    for turn in (3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = turn
        yield Container(f"EXIF {turn}", ".jpg", lambda p, e=exif: image.save(p, exif=e, quality=95))
    yield _tiff("Orientation 6 of TIFF", byte_scene(), extratags=[(274, 3, 1, 6, True)])


def packed_bits(path: Path) -> None:
    """A TIFF of 4 bits a sample, which nothing here writes: 16 grey levels."""
    levels = np.rint(scene() / 17).astype(np.uint8)
    data = (levels[:, ::2] << 4 | levels[:, 1::2]).tobytes()
    entries = [
        (256, 3, EDGE), (257, 3, EDGE), (258, 3, 4), (259, 3, 1), (262, 3, 1), (273, 4, 8),
        (277, 3, 1), (278, 3, EDGE), (279, 4, len(data)),
    ]  # fmt: skip
    stream = io.BytesIO(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data)
    stream.seek(0, io.SEEK_END)
    stream.write(struct.pack("<H", len(entries)))
    for code, kind, value in entries:
        stream.write(struct.pack("<HHII", code, kind, 1, value))
    stream.write(struct.pack("<I", 0))
    path.write_bytes(stream.getvalue())
