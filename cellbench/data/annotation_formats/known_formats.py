"""Known annotation formats, and the format of a file by its suffix and content."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cellbench.data.annotation_formats import (
    annotation_pictures,
    cell_counter,
    cellpose_masks,
    coco,
    cvat,
    imagej_rois,
    label_studio,
    labelme,
    pascal_voc,
    point_tables,
    qupath,
    via,
    via_projects,
    yolo,
)
from cellbench.data.annotation_formats.file_annotation import FileAnnotation, read_annotation_json
from cellbench.data.annotation_formats.xml_files import read_xml
from cellbench.data.images import is_named_as_picture
from cellbench.errors import UserError

Reader = Callable[[Path], list[FileAnnotation]]


@dataclass(frozen=True, slots=True)
class AnnotationFormat:
    """Annotation format and its reader.

    Attributes:
        name: shown to users.
        read: function from a file to its annotations, one per image.
        marks: priority, the higher is taken of two annotations that agree: 2 for points that
            somebody marked, 1 for outlines and masks.
    """

    name: str
    read: Reader
    marks: int = 2


TABLE = AnnotationFormat("table of points or counts", point_tables.read_table)
PICTURE = AnnotationFormat(
    "dot picture or mask", annotation_pictures.read_annotation_picture, marks=1
)
IMAGEJ = AnnotationFormat("ImageJ ROIs", imagej_rois.read_imagej)
CELLPOSE = AnnotationFormat("Cellpose _seg.npy", cellpose_masks.read_cellpose, marks=1)
QUPATH = AnnotationFormat("QuPath GeoJSON", qupath.read_qupath)
COCO = AnnotationFormat("COCO JSON", coco.read_coco)
LABELME = AnnotationFormat("LabelMe JSON", labelme.read_labelme)
LABEL_STUDIO = AnnotationFormat("Label Studio JSON", label_studio.read_label_studio)
VIA = AnnotationFormat("VIA JSON", via.read_via)
VIA_3 = AnnotationFormat("VIA 3 project", via_projects.read_via_project)
YOLO = AnnotationFormat("YOLO text", yolo.read_yolo, marks=1)
PASCAL_VOC = AnnotationFormat("Pascal VOC XML", pascal_voc.read_pascal_voc, marks=1)
CVAT = AnnotationFormat("CVAT XML", cvat.read_cvat)
CELL_COUNTER = AnnotationFormat("Cell Counter XML", cell_counter.read_cell_counter)

_BY_SUFFIX = {
    **dict.fromkeys(point_tables.SUFFIXES, TABLE),
    ".roi": IMAGEJ,
    ".zip": IMAGEJ,
    ".npy": CELLPOSE,
    ".geojson": QUPATH,
}
SUFFIXES = frozenset({*_BY_SUFFIX, ".json", ".xml"})
"""Suffixes of annotation files other than images, in lower case."""


def is_named_as_annotation(path: Path) -> bool:
    """Return whether a file has one of `SUFFIXES` and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def format_of(path: Path) -> AnnotationFormat:
    """Detect the format of a file from its suffix and, where that is not enough, its content.

    Raises:
        UserError: the format is unknown.
    """
    suffix = path.suffix.lower()
    if suffix == ".txt" and yolo.is_yolo(path):
        return YOLO
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix == ".json":
        document = read_annotation_json(path)
        tests = (
            (qupath.is_qupath, QUPATH), (coco.is_coco, COCO),
            (labelme.is_labelme, LABELME), (via.is_via, VIA),
            (via_projects.is_via_project, VIA_3), (label_studio.is_label_studio, LABEL_STUDIO),
        )  # fmt: skip
        for fits, found in tests:
            if fits(document):
                return found
        raise UserError(
            f"{path} is in no format that is known; JSON may be of QuPath, COCO, "
            "LabelMe, Label Studio or VIA."
        )
    if suffix == ".xml":
        root = read_xml(path, "CVAT, Cell Counter or Pascal VOC")
        return {cell_counter.ROOT: CELL_COUNTER, pascal_voc.ROOT: PASCAL_VOC}.get(root.tag, CVAT)
    if is_named_as_picture(path):
        return PICTURE
    raise UserError(f"{path} is in no format of annotations that is known.")
