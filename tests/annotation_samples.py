"""Annotated pictures in each format that people have, written without cellbench's own readers."""

import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import tifffile
from PIL import Image
from roifile import ROI_TYPE, ImagejRoi, roiwrite

from cellbench.data.points import format_points
from cellbench.data.stored_set import StoredSet

Cells = dict[str, np.ndarray]
SIZE = (256, 256)


def nuclei_pictures(number: int, first: int = 0) -> dict[str, tuple[Path, np.ndarray]]:
    """So many of the shipped pictures, one a field: their files and points."""
    import cellbench_plugins.datasets as package

    folder = Path(package.__file__).parent / "shipped/nuclei"
    fields: dict[str, Path] = {}
    for path in sorted((folder / "images").iterdir()):
        fields.setdefault(path.name[:3], path)
    chosen = list(fields.values())[first : first + number]
    return {
        path.stem: (path, np.loadtxt(folder / "points" / f"{path.stem}.txt", ndmin=2))
        for path in chosen
    }


def copied_as_own(folder: Path, ids: Sequence[str], stored: StoredSet) -> None:
    """Mirror pictures of a set into a folder as p00.png, p01.png, ..., each beside its cells."""
    folder.mkdir()
    for index, image_id in enumerate(ids):
        Image.fromarray(stored.pixels(image_id)[:, ::-1]).save(folder / f"p{index:02d}.png")
        x, y = stored.sample(image_id).points.T
        cells = np.stack([stored.entry(image_id).size[0] - x, y], axis=1)
        (folder / f"p{index:02d}.txt").write_bytes(format_points(cells))


def copy_pictures(pictures: dict[str, tuple[Path, np.ndarray]], folder: Path) -> Cells:
    """Put pictures into a folder; their points."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (path, _) in pictures.items():
        (folder / f"{name}.png").write_bytes(path.read_bytes())
    return {name: points for name, (_, points) in pictures.items()}


def _labels(points: np.ndarray, radius: float = 1.5) -> np.ndarray:
    labels = np.zeros(SIZE[::-1], np.uint16)
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    for number, (x, y) in enumerate(points, start=1):
        labels[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = number
    return labels


def dot_pictures(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        dots = np.zeros((*SIZE[::-1], 3), np.uint8)
        dots[points[:, 1].astype(int), points[:, 0].astype(int)] = (255, 0, 0)
        Image.fromarray(dots).save(folder / f"{name}_dots.png")


def label_masks(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        tifffile.imwrite(folder / f"{name}_mask.tif", _labels(points))


def text(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        np.savetxt(folder / f"{name}.txt", points, fmt="%.2f")


def imagej_multipoint(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        lines = [f"{i},0,255,0,255,{x - 0.5:g},{y - 0.5:g}" for i, (x, y) in enumerate(points, 1)]
        text = "\n".join([" ,Area,Mean,Min,Max,X,Y", *lines])
        (folder / f"{name}.csv").write_text(text + "\n")


def results_in_micrometres(cells: Cells, folder: Path) -> None:
    """One Results.csv of all pictures, 0.5 micrometres a pixel."""
    lines = [" ,Label,Area,X,Y"]
    for name, points in cells.items():
        for x, y in points:
            place = f"{(x - 0.5) / 2:.4f},{(y - 0.5) / 2:.4f}"
            lines.append(f"{len(lines)},{name}.png:0001-0042,0,{place}")
    (folder / "Results.csv").write_text("\n".join(lines) + "\n")


def _point_roi(points: np.ndarray, name: str) -> ImagejRoi:
    roi = ImagejRoi.frompoints(points - 0.5, name=name)
    roi.roitype = ROI_TYPE.POINT
    return roi


def imagej_roi(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        _point_roi(points, name).tofile(folder / f"{name}.roi")


def imagej_zip(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        rois = [_point_roi(points[i : i + 1], f"{i:04d}") for i in range(len(points))]
        roiwrite(folder / f"{name}_RoiSet.zip", rois)


def qupath(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        feature = {
            "type": "Feature", "id": str(uuid.UUID(int=len(points))),
            "geometry": {"type": "MultiPoint", "coordinates": points.tolist()},
            "properties": {"objectType": "annotation", "classification": {"name": "Cell"}},
        }  # fmt: skip
        document = {"type": "FeatureCollection", "features": [feature]}
        (folder / f"{name}.geojson").write_text(json.dumps(document))


def napari(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        lines = [f"{i},{y - 0.5:g},{x - 0.5:g}" for i, (x, y) in enumerate(points)]
        table = "\n".join(["index,axis-0,axis-1", *lines])
        (folder / f"{name}_points.csv").write_text(table + "\n")


def cellpose(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        kept = {
            "masks": _labels(points), "outlines": np.zeros(SIZE, np.uint16), "est_diam": 8.0,
            "filename": f"C:\\a\\{name}.png", "chan_choose": [0, 0], "ismanual": np.ones(3, bool),
            "flows": [np.zeros((4, 4), np.float32), np.float64(3.0)],
        }  # fmt: skip
        np.save(folder / f"{name}_seg.npy", np.array(kept, dtype=object))


def coco(cells: Cells, folder: Path) -> None:
    images, found = [], []
    for number, (name, points) in enumerate(cells.items(), start=1):
        images.append({"id": number, "file_name": f"{name}.png", "width": 256, "height": 256})
        for x, y in points:
            found.append({
                "id": len(found) + 1, "image_id": number, "category_id": 1, "num_keypoints": 1,
                "keypoints": [x - 0.5, y - 0.5, 2], "bbox": [x - 4, y - 4, 8, 8],
                "area": 64, "iscrowd": 0,
            })  # fmt: skip
    category = {"id": 1, "name": "cell", "keypoints": ["centre"], "skeleton": []}
    document = {"images": images, "annotations": found, "categories": [category]}
    (folder / "instances.json").write_text(json.dumps(document))


def labelme(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        shapes = [{"label": "cell", "points": [p], "shape_type": "point"} for p in points.tolist()]
        document = {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"..\\{name}.png",
            "imageData": None, "imageHeight": 256, "imageWidth": 256,
        }  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(document))


def cvat(cells: Cells, folder: Path) -> None:
    lines = ["<annotations>", "<version>1.1</version>"]
    for number, (name, points) in enumerate(cells.items()):
        named = f'id="{number}" name={quoteattr(name + ".png")}'
        lines.append(f'<image {named} width="256" height="256">')
        places = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
        lines.append(f'<points label="cell" occluded="0" points="{places}" z_order="0"></points>')
        lines.append("</image>")
    (folder / "annotations.xml").write_text("\n".join([*lines, "</annotations>"]))


def via(cells: Cells, folder: Path) -> None:
    files = {}
    for name, points in cells.items():
        regions = [
            {"shape_attributes": {"name": "point", "cx": int(x), "cy": int(y)},
             "region_attributes": {}}
            for x, y in points
        ]  # fmt: skip
        files[f"{name}.png123"] = {
            "filename": f"{name}.png", "size": 123, "regions": regions, "file_attributes": {},
        }  # fmt: skip
    (folder / "via_project.json").write_text(json.dumps({"_via_img_metadata": files}))


def cell_counter(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        markers = "".join(
            f"<Marker><MarkerX>{int(x)}</MarkerX><MarkerY>{int(y)}</MarkerY>"
            "<MarkerZ>1</MarkerZ></Marker>"
            for x, y in points
        )
        (folder / f"CellCounter_{name}.xml").write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n<CellCounter_Marker_File>'
            f"<Image_Properties><Image_Filename>{name}.png</Image_Filename></Image_Properties>"
            "<Marker_Data><Current_Type>0</Current_Type>"
            f"<Marker_Type><Type>1</Type>{markers}</Marker_Type>"
            "<Marker_Type><Type>2</Type></Marker_Type></Marker_Data></CellCounter_Marker_File>"
        )


def yolo(cells: Cells, folder: Path) -> None:
    (folder / "classes.txt").write_text("nucleus\n")
    for name, points in cells.items():
        shares = points / np.array(SIZE)
        lines = [f"0 {x:.6f} {y:.6f} 0.040000 0.040000\n" for x, y in shares]
        (folder / f"{name}.txt").write_text("".join(lines))


def pascal_voc(cells: Cells, folder: Path) -> None:
    for name, points in cells.items():
        objects = "".join(
            f"<object><name>cell</name><bndbox><xmin>{x - 4:.2f}</xmin><ymin>{y - 4:.2f}</ymin>"
            f"<xmax>{x + 4:.2f}</xmax><ymax>{y + 4:.2f}</ymax></bndbox></object>"
            for x, y in points
        )
        (folder / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.png</filename>{objects}</annotation>"
        )


def label_studio(cells: Cells, folder: Path) -> None:
    size = {"original_width": SIZE[0], "original_height": SIZE[1], "image_rotation": 0}
    tasks = []
    for name, points in cells.items():
        percent = 100 * points / np.array(SIZE)
        marks = [
            {"value": {"x": x, "y": y, "width": 0.5, "keypointlabels": ["Cell"]},
             "type": "keypointlabels", **size}
            for x, y in percent.tolist()
        ]  # fmt: skip
        named = {"image": f"/data/upload/1/3f2a1b4c-{name}.png"}
        tasks.append({"id": len(tasks), "data": named, "annotations": [{"result": marks}]})
    (folder / "project-1.json").write_text(json.dumps(tasks))


def qupath_measurements(cells: Cells, folder: Path) -> None:
    lines = [f"{name}.png\tPositive\t{x}\t{y}" for name, at in cells.items() for x, y in at]
    head = "Image\tClassification\tCentroid X px\tCentroid Y px"
    (folder / "measurements.tsv").write_text("\n".join([head, *lines]) + "\n")


def counts_only(cells: Cells, folder: Path) -> None:
    lines = [f"{name}.png,{len(points)}" for name, points in cells.items()]
    (folder / "counts.csv").write_text("\n".join(["image,count", *lines]) + "\n")


FORMATS: dict[str, Callable[[Cells, Path], None]] = {
    "dot-pictures": dot_pictures,
    "label-masks": label_masks,
    "text": text,
    "imagej-csv": imagej_multipoint,
    "imagej-results-um": results_in_micrometres,
    "imagej-roi": imagej_roi,
    "imagej-zip": imagej_zip,
    "qupath": qupath,
    "napari": napari,
    "cellpose": cellpose,
    "coco": coco,
    "labelme": labelme,
    "cvat": cvat,
    "via": via,
    "cell-counter": cell_counter,
    "yolo": yolo,
    "pascal-voc": pascal_voc,
    "label-studio": label_studio,
    "qupath-measurements": qupath_measurements,
    "counts-only": counts_only,
}
"""Writes the cells of pictures beside them, by the name of the format."""

WHOLE_PIXELS = {"dot-pictures", "via", "cell-counter", "label-masks", "cellpose"}
"""Formats that keep a cell to a pixel alone."""
