"""Reader of Pascal VOC boxes, as LabelImg writes them: one XML file per image."""

from pathlib import Path

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    combined_classes_note,
    explained_parsing,
    finite_number,
    points_array,
    side_px,
)
from cellbench.data.annotation_formats.xml_files import read_xml

PROGRAM = "Pascal VOC"
ROOT = "annotation"

_NOTE = "Each box of Pascal VOC is one cell, at its middle."


def read_pascal_voc(path: Path) -> list[FileAnnotation]:
    """Read one cell per object, in the middle of its box.

    Raises:
        UserError: the file is not in this format, or an object has no box.
    """
    root = read_xml(path, PROGRAM)
    with explained_parsing(path, PROGRAM):
        if root.tag != ROOT:
            raise ValueError(f"its root is called {root.tag[:40]!r}")
        places, classes = [], set()
        for one in root.iter("object"):
            left, top, right, bottom = (
                finite_number(one.findtext(f"bndbox/{side}"))
                for side in ("xmin", "ymin", "xmax", "ymax")
            )
            places.append(((left + right) / 2, (top + bottom) / 2))
            classes.add((one.findtext("name") or "").strip()[:40])
        width, height = root.findtext("size/width"), root.findtext("size/height")
        file_name = (root.findtext("filename") or "").strip()
        return [
            FileAnnotation(
                points_array(places, path),
                picture=file_name or None,
                size=(side_px(width), side_px(height))
                if finite_number(width or 0) and height
                else None,
                notes=((_NOTE,) if places else ())
                + combined_classes_note(sorted(classes), "classes"),
            )
        ]
