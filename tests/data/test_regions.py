"""Claims about regions: which cells lie in each, and how large each is."""

import json

import numpy as np
import pytest
from PIL import Image
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi, roiwrite
from skimage.measure import points_in_poly

from cellbench.data.regions import Outline, read_regions
from cellbench.errors import UserError

SIZE = (100, 80)
RNG = np.random.default_rng(6)
POINTS = RNG.uniform([0, 0], SIZE, (400, 2)).astype(np.float32)
SQUARE = [[10, 20], [50, 20], [50, 60], [10, 60]]


def geojson(path, *polygons, **properties):
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": rings},
         "properties": properties}
        for rings in polygons
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_an_outline_holds_what_scikit_image_finds_in_it():
    star = 50 + 40 * np.stack(
        [np.cos(np.arange(11) * 2.3) * 0.9, np.sin(np.arange(11) * 0.57)], axis=1
    )
    convex = np.array([[5, 5], [90, 12], [70, 70], [20, 60]], float)
    for ring in (convex, np.array(SQUARE, float), star[:3]):
        found = Outline("a", (ring,), SIZE).contains(POINTS)
        np.testing.assert_array_equal(found, points_in_poly(POINTS, ring))


def test_a_cell_on_a_common_border_lies_in_one_of_two_regions():
    left = Outline("l", (np.array([[0, 0], [50, 0], [50, 80], [0, 80]], float),), SIZE)
    right = Outline("r", (np.array([[50, 0], [100, 0], [100, 80], [50, 80]], float),), SIZE)
    border = np.array([[50, y] for y in np.linspace(0, 79.9, 60)], np.float32)
    every = np.concatenate([POINTS, border])
    assert (left.contains(every) ^ right.contains(every)).all()
    assert right.contains(border).all()


def test_areas_are_of_what_lies_within_the_picture_and_holes_count_out(tmp_path):
    hole = [[20, 30], [30, 30], [30, 40], [20, 40]]
    path = geojson(
        tmp_path / "a.geojson", [SQUARE, hole], [[[-50, -50], [50, -50], [50, 40], [-50, 40]]]
    )
    with_hole, beyond = read_regions(path, SIZE)
    assert with_hole.area_px == pytest.approx(40 * 40 - 100)
    assert beyond.area_px == pytest.approx(50 * 40)
    inside = np.array([[25, 35], [15, 25], [60, 25]], np.float32)
    np.testing.assert_array_equal(with_hole.contains(inside), [False, True, False])


def test_the_same_square_in_every_format(tmp_path):
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[20:60, 10:50] = 7
    Image.fromarray(mask).save(tmp_path / "mask.png")
    geojson(tmp_path / "a.geojson", [SQUARE], name="tumour")
    roi = ImagejRoi.frompoints(np.array(SQUARE, float))
    roi.roitype = ROI_TYPE.POLYGON
    roi.tofile(tmp_path / "a.roi")
    rect = ImagejRoi(roitype=ROI_TYPE.RECT, left=10, top=20, right=50, bottom=60)
    roiwrite(tmp_path / "a.zip", [rect])
    for name in ("mask.png", "a.geojson", "a.roi", "a.zip"):
        (region,) = read_regions(tmp_path / name, SIZE)
        assert region.area_px == pytest.approx(1600), name
        x, y = POINTS.T
        np.testing.assert_array_equal(
            region.contains(POINTS), (x >= 10) & (x < 50) & (y >= 20) & (y < 60), name
        )
    assert read_regions(tmp_path / "a.geojson", SIZE)[0].name == "tumour"


def test_an_oval_has_the_area_of_an_ellipse(tmp_path):
    ImagejRoi(roitype=ROI_TYPE.OVAL, left=10, top=20, right=50, bottom=40).tofile(
        tmp_path / "a.roi"
    )
    (region,) = read_regions(tmp_path / "a.roi", SIZE)
    assert region.area_px == pytest.approx(np.pi * 20 * 10, rel=1e-3)


def test_a_region_goes_by_the_parts_of_its_class(tmp_path):
    geojson(tmp_path / "a.geojson", [SQUARE], classification={"names": ["Tumor", "Edge"]})
    assert [region.name for region in read_regions(tmp_path / "a.geojson", SIZE)] == ["Tumor: Edge"]


def test_a_rectangle_between_pixels_has_its_own_border(tmp_path):
    roi = ImagejRoi(roitype=ROI_TYPE.RECT, version=228, left=10, top=20, right=50, bottom=60)
    roi.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    roi.xd, roi.yd, roi.widthd, roi.heightd = 10.75, 20.5, 40.5, 40.0
    roi.tofile(tmp_path / "a.roi")
    (region,) = read_regions(tmp_path / "a.roi", SIZE)
    assert region.area_px == pytest.approx(40.5 * 40)
    assert region.contains(np.array([[10.6, 30.0], [51.0, 30.0]])).tolist() == [False, True]


def test_regions_of_one_name_are_told_apart(tmp_path):
    geojson(tmp_path / "a.geojson", [SQUARE], [SQUARE], classification={"name": "Stroma"})
    names = [region.name for region in read_regions(tmp_path / "a.geojson", SIZE)]
    assert names == ["Stroma", "Stroma (2)"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.geojson", b'{"type": "FeatureCollection", "features": []}', "holds no outline"),
        ("a.geojson", b"[", "no JSON"),
        ("a.roi", b"junk", "ImageJ"),
        ("a.zip", b"PK junk", "ImageJ"),
        ("a.txt", b"1 2", "holds no regions"),
        ("a.png", b"junk", "no picture"),
    ],
)
def test_what_holds_no_region_is_one_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        read_regions(tmp_path / name, SIZE)
    assert "\n" not in str(error.value)


def test_a_mask_has_the_size_of_its_picture(tmp_path):
    Image.new("L", (9, 9), 1).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"9x9 px and its picture 100x80"):
        read_regions(tmp_path / "a.png", SIZE)


def colour_masks(folder):
    """One mask of two regions, 2,000 and 1,600 px, as RGB, RGBA, indices and sorted colours."""
    labels = np.zeros(SIZE[::-1], np.uint8)
    labels[:20], labels[64:] = 1, 2
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
    greys = np.repeat(np.array([[0], [128], [64]], np.uint8), 3, axis=1)
    rgb = colours[labels]
    Image.fromarray(rgb).save(folder / "rgb.png")
    clear = np.dstack([rgb, np.where(labels > 0, 255, 0).astype(np.uint8)])
    Image.fromarray(clear).save(folder / "clear.png")
    Image.fromarray(np.dstack([rgb, np.full_like(labels, 255)])).save(folder / "rgba.png")
    for name, palette in (("palette", colours), ("alike", colours * 0), ("grey", greys)):
        image = Image.fromarray(labels, "L")
        image.putpalette(palette.ravel().tolist())
        image.save(folder / f"{name}.png")
    image = Image.fromarray(np.array([1, 2, 0], np.uint8)[labels], "L")
    image.putpalette([0, 255, 0, 0, 0, 0, 255, 0, 0])
    image.save(folder / "sorted.png")


@pytest.mark.parametrize("name", ["rgb", "clear", "rgba", "palette", "alike", "grey", "sorted"])
def test_each_colour_or_index_of_a_mask_is_a_region(tmp_path, name):
    colour_masks(tmp_path)
    regions = read_regions(tmp_path / f"{name}.png", SIZE)
    assert sorted(region.area_px for region in regions) == [1600, 2000]
    top = next(region for region in regions if region.area_px == 2000)
    indexed = name in ("palette", "alike", "grey")
    assert top.name == ("region 1" if indexed else "region #ff0000")
    np.testing.assert_array_equal(top.contains(POINTS), POINTS[:, 1] < 20)


def test_a_grey_mask_saved_as_colours_keeps_its_numbers(tmp_path):
    labels = np.zeros(SIZE[::-1], np.uint8)
    labels[:20], labels[64:] = 3, 7
    Image.fromarray(np.repeat(labels[:, :, None], 3, axis=2)).save(tmp_path / "a.png")
    assert [region.name for region in read_regions(tmp_path / "a.png", SIZE)] == [
        "region 3", "region 7",
    ]  # fmt: skip


def test_outlines_of_cells_beside_regions_are_no_regions(tmp_path):
    def feature(kind):
        geometry = {"type": "Polygon", "coordinates": [SQUARE]}
        return {"type": "Feature", "geometry": geometry, "properties": {"objectType": kind}}

    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([feature("annotation"), feature("cell"), feature("cell")]))
    assert [region.name for region in read_regions(path, SIZE)] == ["region 1"]
    path.write_text(json.dumps([feature("cell"), feature("cell")]))
    assert len(read_regions(path, SIZE)) == 2  # nothing else was drawn
