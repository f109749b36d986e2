"""Where a cell of each format is, to the half pixel, and what no format may say."""

import json
import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

from cellbench.data.annotation_formats.known_formats import format_of
from cellbench.data.annotation_formats.label_masks import label_points
from cellbench.data.annotation_formats.shapes import multipolygon_centroid, polygon_centroid
from cellbench.errors import UserError

SQUARE = [[10, 20], [14, 20], [14, 24], [10, 24]]


def read(tmp_path, name, content):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, np.ndarray):
        tifffile.imwrite(path, content) if name.endswith("tif") else Image.fromarray(content).save(
            path
        )
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return format_of(path).read(path)


def one(tmp_path, name, content):
    (found,) = read(tmp_path, name, content)
    return found


def test_the_centroid_of_an_outline_is_that_of_its_area():
    assert polygon_centroid([SQUARE]) == (12.0, 22.0)
    assert polygon_centroid([SQUARE[::-1] + SQUARE[-1:]]) == (12.0, 22.0)
    ell = [[0, 0], [4, 0], [4, 1], [1, 1], [1, 4], [0, 4]]  # 4x1 and 1x3
    middle = ((4 * 2 + 3 * 0.5) / 7, (4 * 0.5 + 3 * 2.5) / 7)
    assert polygon_centroid([ell]) == pytest.approx(middle)
    hole = [[10, 20], [12, 20], [12, 24], [10, 24]]
    assert polygon_centroid([SQUARE, hole]) == pytest.approx((13.0, 22.0))
    assert polygon_centroid([[[1, 2], [3, 4]]]) == (2.0, 3.0)  # no area
    two = multipolygon_centroid([[SQUARE], [[[0, 0], [8, 0], [8, 8], [0, 8]]]])
    assert two == pytest.approx(((16 * 12 + 64 * 4) / 80, (16 * 22 + 64 * 4) / 80))


def test_objects_count_once_and_a_crescent_is_placed_on_itself():
    labels = np.zeros((40, 40), np.int32)
    labels[2:5, 10:13] = 7
    labels[20, 30] = 900
    rows, columns = np.mgrid[:40, :40]
    ring = np.hypot(rows - 30, columns - 10)
    labels[(ring > 6) & (ring < 8) & (columns < 12)] = 3
    points = label_points(labels)
    assert points[1].tolist() == [11.5, 3.5]
    assert points[2].tolist() == [30.5, 20.5]
    x, y = points[0]
    assert labels[int(y), int(x)] == 3


def test_areas_of_imagej_are_corners_and_points_are_centres_of_pixels(tmp_path):
    roi = ImagejRoi()
    roi.roitype, roi.left, roi.top, roi.right, roi.bottom = ROI_TYPE.OVAL, 10, 20, 14, 24
    assert one(tmp_path, "a.roi", roi.tobytes()).points.tolist() == [[12, 22]]
    polygon = ImagejRoi.frompoints(np.array(SQUARE, np.float32))
    polygon.roitype = ROI_TYPE.POLYGON
    assert one(tmp_path, "b.roi", polygon.tobytes()).points.tolist() == [[12, 22]]
    point = ImagejRoi.frompoints(np.array([[3, 4], [5, 6]]))
    point.roitype = ROI_TYPE.POINT
    assert one(tmp_path, "c.roi", point.tobytes()).points.tolist() == [[3.5, 4.5], [5.5, 6.5]]
    line = ImagejRoi.frompoints(np.array(SQUARE, np.float32))
    line.roitype = ROI_TYPE.POLYLINE
    with pytest.raises(UserError, match="no cell"):
        one(tmp_path, "d.roi", line.tobytes())


def test_annotations_of_qupath_beside_points_are_regions(tmp_path):
    def feature(geometry, kind):
        return {"type": "Feature", "geometry": geometry, "properties": {"objectType": kind}}

    region = feature({"type": "Polygon", "coordinates": [[*SQUARE, SQUARE[0]]]}, "annotation")
    point = feature({"type": "Point", "coordinates": [3.25, 4.5]}, "annotation")
    cell = feature({"type": "Polygon", "coordinates": [[*SQUARE, SQUARE[0]]]}, "detection")
    assert one(tmp_path, "a.geojson", [region, point]).points.tolist() == [[3.25, 4.5]]
    assert one(tmp_path, "a.geojson", [region, cell]).points.tolist() == [[12, 22]]
    assert one(tmp_path, "a.geojson", [region]).points.tolist() == [[12, 22]]  # nothing else
    assert one(tmp_path, "a.json", [cell, point]).points.tolist() == [[12, 22], [3.25, 4.5]]


def test_tiles_and_cores_of_qupath_are_no_cells_and_version_0_2_states_types_as_ids(tmp_path):
    def feature(kind, legacy=False):
        geometry = {"type": "Polygon", "coordinates": [[*SQUARE, SQUARE[0]]]}
        stated = {"id": kind} if legacy else {"properties": {"objectType": kind}}
        return {"type": "Feature", "geometry": geometry, **stated}

    found = one(tmp_path, "a.geojson", [feature("tmaCore"), feature("tile"), feature("cell")])
    assert len(found.points) == 1
    assert set(found.notes) >= {"1 tiles are no cells.", "1 cores of an array are no cells."}
    old = [feature("PathAnnotationObject", True), feature("PathDetectionObject", True)]
    assert len(one(tmp_path, "a.geojson", old).points) == 1
    with pytest.raises(UserError, match="tiles and no points"):
        one(tmp_path, "a.geojson", [feature("PathTileObject", True)])


def test_coco_takes_keypoints_then_outlines_then_boxes(tmp_path):
    annotations = [
        {"image_id": 1, "keypoints": [3, 4, 2, 0, 0, 0]},
        {"image_id": 1, "segmentation": [np.ravel(SQUARE).tolist()], "bbox": [0, 0, 2, 2]},
        {"image_id": 1, "segmentation": {"size": [9, 9], "counts": "x"}, "bbox": [10, 20, 4, 4]},
    ]
    images = [{"id": 1, "file_name": "d/a.png", "width": 40, "height": 30}]
    found = one(tmp_path, "a.json", {"images": images, "annotations": annotations})
    assert found.points.tolist() == [[3.5, 4.5], [12, 22], [12, 22]]
    assert (found.size, found.picture) == ((40, 30), "d/a.png")


def test_outlines_of_cvat_labelme_and_via_are_cells_at_their_middle(tmp_path):
    shapes = (
        '<box xtl="10" ytl="20" xbr="14" ybr="24"/><ellipse cx="1.5" cy="2.5" rx="1" ry="1"/>'
        '<polygon points="10,20;14,20;14,24;10,24"/>'
    )
    xml = f'<annotations><image name="a.png" width="9" height="9">{shapes}</image></annotations>'
    assert one(tmp_path, "a.xml", xml).points.tolist() == [[12, 22], [1.5, 2.5], [12, 22]]
    labelme = [
        {"shape_type": "rectangle", "points": [[14, 24], [10, 20]]},
        {"shape_type": "circle", "points": [[3.5, 4.5], [9, 9]]},
        {"shape_type": "polygon", "points": SQUARE},
    ]
    assert one(tmp_path, "a.json", {"shapes": labelme}).points.tolist() == [
        [12, 22], [3.5, 4.5], [12, 22],
    ]  # fmt: skip
    regions = [
        {"shape_attributes": {"name": "rect", "x": 10, "y": 20, "width": 4, "height": 4}},
        {"shape_attributes": {"name": "circle", "cx": 3, "cy": 4, "r": 1}},
        {"shape_attributes": {"name": "point", "cx": 3, "cy": 4}},
    ]
    via = {"a.png9": {"filename": "a.png", "size": 9, "regions": regions}}
    assert one(tmp_path, "b.json", via).points.tolist() == [[12, 22], [3, 4], [3.5, 4.5]]


def via_project(*shapes, files=({"fname": "a.png", "type": 2},)):
    """A project of VIA 3 whose shapes are in its first picture."""
    return {
        "project": {"pid": "x", "vid_list": [str(place) for place in range(len(files))]},
        "config": {}, "attribute": {},
        "file": {str(place): {"fid": str(place), **file} for place, file in enumerate(files)},
        "view": {str(place): {"fid_list": [place]} for place in range(len(files))},
        "metadata": {str(place): {"vid": "0", "flg": 0, "z": [], "xy": list(shape), "av": {}}
                     for place, shape in enumerate(shapes)},
    }  # fmt: skip


def test_a_project_of_via_3_has_cells_by_the_number_of_their_shape(tmp_path):
    two = ({"fname": "a.png", "type": 2}, {"fname": "b.png", "type": 2})
    shapes = [
        (1, 3, 4), (2, 10, 20, 4, 4), (3, 3, 4, 1), (4, 5, 6, 2, 1), (7, *np.ravel(SQUARE)), (),
    ]  # fmt: skip
    project = via_project(*([float(v) for v in shape] for shape in shapes), files=two)
    first, second = read(tmp_path, "a.json", project)
    assert first.points.tolist() == [[3.5, 4.5], [12, 22], [3, 4], [5, 6], [12, 22]]
    assert (first.picture, second.picture, len(second.points)) == ("a.png", "b.png", 0)
    marked = via_project((1, 3.25, 4.5), (1, 7, 8))  # in an enlarged picture
    assert one(tmp_path, "b.json", marked).points.tolist() == [[3.25, 4.5], [7, 8]]


@pytest.mark.parametrize(
    ("project", "reason"),
    [
        (via_project((5, 1, 2, 3, 4)), "a region of the kind 5 is no cell"),
        (via_project((1, 2, 3), files=({"fname": "a.mp4", "type": 4},)), "not of one picture"),
        (via_project((1, "x", 3)), "a.json"),
        (via_project((1,)), "a.json"),
    ],
)
def test_what_is_no_cell_in_a_project_of_via_3_is_named(tmp_path, project, reason):
    with pytest.raises(UserError, match=reason):
        read(tmp_path, "a.json", project)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("1.5 2.5\n3 4\n", [[1.5, 2.5], [3, 4]]),
        ("1 2\n3 4\n", [[1.5, 2.5], [3.5, 4.5]]),
        ("\ufeffX;Y\r\n1,25;2,5\r\n", [[1.25, 2.5]]),
        ("x,y,score\n1.25,2.5,0.5\n", [[1.25, 2.5]]),
        ("image,x_px,y_px,score\na.png,1.25,2.5,\n", [[1.25, 2.5]]),
        (" ,Area,X,Y\n1,0,1,2\n2,9,1,2\n", [[1.5, 2.5], [1, 2]]),
        ("index,axis-0,axis-1\n0,2,1\n", [[1.5, 2.5]]),
        (",label,area,centroid-0,centroid-1\n0,1,9,2,1\n1,2,9,4,3\n", [[1.5, 2.5], [3.5, 4.5]]),
        ("object_id,Center of the object_0,Center of the object_1\n0,1,2\n", [[1.5, 2.5]]),
        ("Image\tClass\tCentroid X px\tCentroid Y px\na.png\tPos\t1.25\t2.5\n", [[1.25, 2.5]]),
        ("sep=;\nx;y\n1,25;2,5\n;\n", [[1.25, 2.5]]),
        ("x,y,,\n1.25,2.5,,\n,,,\n", [[1.25, 2.5]]),
        (",x,y\n0,1.25,2.5\n1,3.5,4.5\n", [[1.25, 2.5], [3.5, 4.5]]),  # pandas
        (" ,X,Y\n1,1,2\n", [[1.5, 2.5]]),  # ImageJ
        ("x\ty\n1.25\t2.5\n".encode("utf-16"), [[1.25, 2.5]]),
        ("# nothing\n", []),
    ],
)
def test_tables_of_points(text, points, tmp_path):
    assert one(tmp_path, "a.csv", text).points.tolist() == points


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.5 2.5\n3\n", "line 2"),
        ("x,y\n1.5,nan\n", "line 2"),
        ("x,y\n1.5,1_0\n", "line 2"),
        ("a,b\n1,2\n", "one column x and one y"),
        ("axis-0,axis-1,axis-2\n1,2,3\n", "of a stack"),
        ("index,shape-type,vertex-index,axis-0,axis-1\n0,ellipse,0,2,1\n", "napari's shapes"),
        ("label,centroid-0,centroid-1,centroid-2\n1,1,2,3\n", "of a stack"),
        ("filename,region_count,region_shape_attributes\na.png,1,{}\n", "export .* as JSON"),
        ("image,count\na.png,2.5\n", "no number of cells"),
        ("image,count\na.png,-1\n", "no number of cells"),
        ("image,count\n,3\n", "names no picture"),
        ("1e300 2\n", "beyond any picture"),
    ],
)
def test_what_is_no_table_is_one_sentence(text, words, tmp_path):
    with pytest.raises(UserError, match=words) as refusal:
        read(tmp_path, "a.csv", text)
    assert "a.csv" in str(refusal.value)


def dots(places, size=(30, 40), stamp=((0, 0),)):
    pixels = np.zeros(size, np.uint8)
    for x, y in places:
        for dx, dy in stamp:
            pixels[y + dy, x + dx] = 255
    return pixels


SPREAD = [(5, 5), (15, 5), (25, 5), (5, 20), (15, 20), (25, 20)]
CROSS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


def test_a_dot_is_a_cell_even_beside_another_and_whatever_its_colour(tmp_path):
    beside = [*SPREAD, (6, 5)]
    expected = sorted([x + 0.5, y + 0.5] for x, y in beside)
    white = dots(beside)
    for name, pixels in (
        ("a.png", white), ("b.png", 255 - white), ("c.tif", white.astype(np.uint16) * 100),
        ("d.png", np.stack([white, white * 0, white * 0], -1)),
        ("e.png", np.stack([white * 0, white * 0, white * 0, white], -1)),
    ):  # fmt: skip
        assert sorted(one(tmp_path, name, pixels).points.tolist()) == expected, name


def test_a_mark_of_several_pixels_is_one_cell_and_marks_that_touch_are_refused(tmp_path):
    found = one(tmp_path, "a.png", dots(SPREAD, stamp=CROSS))
    assert sorted(found.points.tolist()) == sorted([x + 0.5, y + 0.5] for x, y in SPREAD)
    assert found.notes == ("Each mark of 5 pixels is one cell.",)
    with pytest.raises(UserError, match="cannot be told apart"):
        one(tmp_path, "b.png", dots([*SPREAD, (7, 5)], stamp=CROSS))


def test_a_photograph_and_a_blurred_dot_picture_are_no_annotations(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    with pytest.raises(UserError, match="neither a dot picture nor a mask"):
        one(tmp_path, "a.png", noise)
    colour = np.zeros((64, 64, 3), np.uint8)
    colour[10:60:10, 10:60:10, 0] = 255
    Image.fromarray(colour).save(tmp_path / "b.jpg", quality=80)
    with pytest.raises(UserError, match="JPEG"):
        format_of(tmp_path / "b.jpg").read(tmp_path / "b.jpg")


def test_no_entity_of_xml_is_followed(tmp_path):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotations>&b;</annotations>'
    outside = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotations>&a;</annotations>'
    for text in (bomb, outside):
        with pytest.raises(UserError, match="cannot be read as an annotation"):
            read(tmp_path, "a.xml", text)


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.roi", bytes(33 * 2**20))
    assert (tmp_path / "a.zip").stat().st_size < 2**20
    with pytest.raises(UserError, match="unpacks to more"):
        format_of(tmp_path / "a.zip").read(tmp_path / "a.zip")


def test_a_drive_is_part_of_a_path_and_other_colons_end_it(tmp_path):
    lines = [r"C:\img\a.png,1,2", "c:/img/b.png,3,4", "stack.tif:0001:C,5,6", "C:slice,7,8"]
    found = read(tmp_path, "w.csv", "\n".join(["image,x,y", *lines]))
    names = [own.picture for own in found]
    assert names == [r"C:\img\a.png", "c:/img/b.png", "stack.tif", "C"]


def test_a_hash_in_the_name_of_a_picture_is_no_remark(tmp_path):
    lines = "image,count\n# a remark\nwell #3.png,12\nwell.png,4\n"
    found = read(tmp_path, "counts.csv", lines)
    assert [(own.picture, own.count) for own in found] == [("well #3.png", 12), ("well.png", 4)]
    turned = read(tmp_path, "turned.csv", "count,image\n12,well #3.png\n4,well.png\n")
    assert [(own.picture, own.count) for own in turned] == [("well #3.png", 12), ("well.png", 4)]
    places = read(tmp_path, "points.csv", "image,x_px,y_px,score\nwell #3.png,1.5,2.5,\n")
    assert [own.picture for own in places] == ["well #3.png"]
    assert one(tmp_path, "a.csv", "x,y\n1.5,2.5 # the first\n").points.tolist() == [[1.5, 2.5]]
    assert one(tmp_path, "a.txt", "# x y\n1.5 2.5 # the first\n").points.tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize("kind", [ROI_TYPE.OVAL, ROI_TYPE.RECT])
def test_an_oval_between_pixels_is_at_its_own_middle(tmp_path, kind):
    roi = ImagejRoi(roitype=kind, version=228, left=10, top=20, right=15, bottom=26)
    roi.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    roi.xd, roi.yd, roi.widthd, roi.heightd = 10.75, 20.5, 5.0, 6.0
    found = one(tmp_path, "a.roi", roi.tobytes())
    np.testing.assert_allclose(found.points, [[13.25, 23.5]])


def test_a_composite_selection_is_at_the_middle_of_its_area(tmp_path):
    def square(left, top, side, turned=False):
        corners = [(left, top), (left + side, top), (left + side, top + side), (left, top + side)]
        corners = corners[::-1] if turned else corners
        return [value for i, (x, y) in enumerate(corners) for value in (min(i, 1), x, y)] + [4]

    roi = ImagejRoi(roitype=ROI_TYPE.RECT, left=0, top=0, right=40, bottom=10)
    # A large square with a hole at its left, and a small one far to the right.
    path = [*square(0, 0, 10), *square(1, 4, 2, turned=True), *square(38, 0, 2)]
    roi.multi_coordinates = np.array(path, np.float32)
    roi.shape_roi_size = len(path)
    found = one(tmp_path, "a.roi", roi.tobytes())
    wanted = (np.array([5, 5]) * 100 - np.array([2, 5]) * 4 + np.array([39, 1]) * 4) / 100
    np.testing.assert_allclose(found.points, [wanted])


def stack_points(slices, *, each=False):
    rois = []
    for at in [[number] for number in slices] if each else [slices]:
        roi = ImagejRoi.frompoints(np.arange(2 * len(at)).reshape(-1, 2).astype(np.float32))
        roi.roitype = ROI_TYPE.POINT
        if each:
            roi.position = at[0]
        else:
            roi.counters = np.zeros(len(at), np.uint8)
            roi.counter_positions = np.array(at, np.uint32)
        rois.append(roi.tobytes())
    return rois


@pytest.mark.parametrize("each", [False, True])
def test_selections_on_several_slices_of_a_stack_are_refused(tmp_path, each):
    def archive(name, rois):
        with zipfile.ZipFile(tmp_path / name, "w") as stream:
            for number, roi in enumerate(rois):
                stream.writestr(f"{number}.roi", roi)
        return (tmp_path / name).read_bytes()

    same = archive("same.zip", stack_points([4, 4, 4], each=each))
    assert len(one(tmp_path, "a.zip", same).points) == 3
    several = archive("several.zip", stack_points([4, 5, 5], each=each))
    with pytest.raises(UserError, match="marks on 2 slices of a stack"):
        read(tmp_path, "a.zip", several)


def test_results_of_several_slices_are_refused_and_of_several_pictures_not(tmp_path):
    head = " ,Label,X,Y,Slice\n"
    with pytest.raises(UserError, match="points on 2 slices of a stack"):
        read(tmp_path, "Results.csv", head + "1,a.tif,3,4,1\n2,a.tif,5,6,2\n")
    found = read(tmp_path, "Results.csv", head + "1,a.tif,3,4,1\n2,b.tif,5,6,2\n")
    assert [len(own.points) for own in found] == [1, 1]


def test_classes_of_qupath_that_list_their_parts_are_named(tmp_path):
    def point(x, **named):
        geometry = {"type": "Point", "coordinates": [x, 3]}
        return {"type": "Feature", "geometry": geometry, "properties": {"classification": named}}

    cells = [point(1, names=["Tumor", "Positive"]), point(2, name="Stroma"), point(3, names=[])]
    (note,) = one(tmp_path, "a.geojson", cells).notes
    assert note == "The classes Stroma, Tumor: Positive are counted together."


def test_points_of_qupath_on_several_planes_are_refused(tmp_path):
    def point(x, **plane):
        geometry = {"type": "Point", "coordinates": [x, 3], **({"plane": plane} if plane else {})}
        return {"type": "Feature", "geometry": geometry, "properties": {}}

    assert len(one(tmp_path, "a.geojson", [point(1, z=2), point(2, z=2)]).points) == 2
    with pytest.raises(UserError, match="marks on 2 slices of a stack"):
        read(tmp_path, "a.geojson", [point(1), point(2, z=2)])
    area = {"type": "Polygon", "coordinates": [[*SQUARE, SQUARE[0]]]}
    drawn = {"type": "Feature", "geometry": area, "properties": {"objectType": "annotation"}}
    assert len(one(tmp_path, "a.geojson", [drawn, point(2, z=2)]).points) == 1


def test_tables_of_counts_of_imagej_and_cellprofiler_name_their_pictures(tmp_path):
    summary = "Slice,Count,Total Area,Mean\na.tif,7,90,3\nb.tif,0,0,0\n"
    of_images = "Count_Nuclei,FileName_DNA,ImageNumber\n7,a.tif,1\n0,b.tif,2\n"
    for text in (summary, of_images):
        found = read(tmp_path, "a.csv", text)
        assert [(one.picture, one.count) for one in found] == [("a.tif", 7), ("b.tif", 0)]
    two = "Count_Nuclei,Count_Cells,FileName_DNA\n7,5,a.tif\n"
    with pytest.raises(UserError, match="one column x and one y"):
        read(tmp_path, "a.csv", two)


def test_classes_of_a_table_are_named(tmp_path):
    text = "Image\tClass\tCentroid X µm\tCentroid Y µm\na\tPos\t1\t2\na\tNeg\t3\t4\n"
    found = one(tmp_path, "a.tsv", text)
    assert (found.unit, len(found.points)) == ("um", 2)
    assert "The classes Neg, Pos are counted together." in found.notes


def test_yolo_has_shares_of_the_sides(tmp_path):
    box, scored, outline = (
        "0 0.5 0.25 0.1 0.2",
        "1 0.1 0.2 0.1 0.1 0.93",
        "0 0 0 0.2 0 0.2 0.4 0 0.4",
    )
    found = one(tmp_path, "a.txt", f"{box}\n{scored}\n{outline}\n")
    assert found.unit == "share"
    np.testing.assert_allclose(found.points, [[0.5, 0.25], [0.1, 0.2], [0.1, 0.2]], atol=1e-6)
    assert "The classes 0, 1 are counted together." in found.notes
    for before in (0, 20):
        with pytest.raises(
            UserError, match=rf"line {before + 1} is neither .* as shares of 0 to 1"
        ):
            read(tmp_path, "a.txt", f"{box}\n" * before + "0 0.5 3 0.1 0.2\n")


def test_pascal_voc_has_boxes(tmp_path):
    box = "<xmin>10</xmin><ymin>20</ymin><xmax>14</xmax><ymax>24</ymax>"
    size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
    text = (
        f"<annotation><filename>a.png</filename>{size}<object><name>cell</name><bndbox>{box}"
        "</bndbox></object></annotation>"
    )
    found = one(tmp_path, "a.xml", text)
    assert (found.picture, found.size, found.points.tolist()) == ("a.png", (40, 30), [[12, 22]])
    empty = one(tmp_path, "a.xml", f"<annotation>{size}</annotation>")
    assert (empty.cells, empty.picture, empty.notes) == (0, None, ())
    with pytest.raises(UserError, match="Pascal VOC"):
        read(tmp_path, "a.xml", "<annotation><object><name>cell</name></object></annotation>")


def test_masks_of_cvat_and_labelme_are_cells_at_their_middle(tmp_path):
    mask = np.zeros((4, 5), bool)
    mask[0, 3:], mask[1, :2], mask[3, 4] = True, True, True
    flat = np.flatnonzero(np.diff(np.r_[0, mask.ravel().astype(int), 0]))
    runs = np.diff(np.r_[0, flat, mask.size])
    rle = ", ".join(str(run) for run in runs if run or run is runs[0])
    shape = f'<mask label="a" rle="{rle}" left="10" top="20" width="5" height="4"/>'
    text = f'<annotations><image name="a" width="40" height="30">{shape}</image></annotations>'
    rows, columns = np.nonzero(mask)
    middle = [[10.5 + columns.mean(), 20.5 + rows.mean()]]
    np.testing.assert_allclose(one(tmp_path, "a.xml", text).points, middle, atol=1e-5)
    with pytest.raises(UserError, match="do not fill its box"):
        read(tmp_path, "a.xml", text.replace('width="5"', 'width="6"'))
    # Of any size, in no time: what comes from outside may state what it likes.
    tall = f'<mask label="a" rle="0, {10**12}" left="0" top="0" width="1" height="{10**12}"/>'
    assert one(tmp_path, "a.xml", text.replace(shape, tall)).points[0, 1] == np.float32(5e11)
    labelme = {"shapes": [{"label": "a", "shape_type": "mask", "points": [[10, 20], [14, 23]]}]}
    assert one(tmp_path, "a.json", labelme).points.tolist() == [[12.5, 22]]


def test_marks_of_label_studio_are_in_percent_and_boxes_turn_about_their_corner(tmp_path):
    def task(*marks, **more):
        size = {"original_width": 200, "original_height": 100}
        results = [{"type": kind, "value": value, **size, **more} for kind, value in marks]
        return [{"data": {"image": "s3://lab/a%20b.png?v=1"}, "annotations": [{"result": results}]}]

    box = {"x": 50, "y": 20, "width": 10, "height": 40, "rectanglelabels": ["cell"]}
    document = task(
        ("keypointlabels", {"x": 25, "y": 50, "keypointlabels": ["dot"]}),
        ("rectanglelabels", box),
        ("rectanglelabels", {**box, "rotation": 90}),  # 20 x 40 px, its corner at (100, 20) px
        ("ellipselabels", {"x": 10, "y": 20, "radiusX": 3, "radiusY": 4}),
        ("polygonlabels", {"points": [[10, 20], [14, 20], [14, 24], [10, 24]]}),
        ("choices", {"choices": ["good"]}),
    )
    found = one(tmp_path, "a.json", document)
    assert (found.picture, found.size, found.unit) == ("s3://lab/a b.png", (200, 100), "share")
    wanted = [[50, 50], [110, 40], [80, 30], [20, 20], [24, 22]]
    np.testing.assert_allclose(found.points * [200, 100], wanted, atol=1e-4)
    assert "The labels cell, dot are counted together." in found.notes
    with pytest.raises(UserError, match="is shown turned"):
        read(tmp_path, "a.json", task(("keypointlabels", {"x": 1, "y": 2}), image_rotation=90))
    with pytest.raises(UserError, match="'brushlabels' is no cell"):
        read(tmp_path, "a.json", task(("brushlabels", {"rle": [0]})))
    document[0]["annotations"] *= 2
    with pytest.raises(UserError, match="has 2 annotations of"):
        read(tmp_path, "a.json", document)
    document[0]["annotations"] = []
    assert read(tmp_path, "a.json", document) == []
