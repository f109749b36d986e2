"""Reader of markers of ImageJ's Cell Counter: one XML file per image."""

from pathlib import Path

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    combined_classes_note,
    explained_parsing,
    finite_number,
    points_array,
    refuse_slices,
)
from cellbench.data.annotation_formats.xml_files import read_xml
from cellbench.data.point_conventions import CELL_COUNTER

PROGRAM = "Cell Counter"
ROOT = "CellCounter_Marker_File"
NOTE = "Cell Counter has the centres of pixels at whole numbers: 0.5 was added."


def read_cell_counter(path: Path) -> list[FileAnnotation]:
    """Read the markers of all types as cells.

    Raises:
        UserError: the file is not in this format, or has markers on several slices of a stack.
    """
    root = read_xml(path, PROGRAM)
    with explained_parsing(path, PROGRAM):
        if root.tag != ROOT:
            raise ValueError(f"its root is called {root.tag[:40]!r}")
        places, types, slices = [], set(), set()
        for kind in root.iter("Marker_Type"):
            type_name = (kind.findtext("Name") or kind.findtext("Type") or "").strip()
            for marker in kind.iter("Marker"):
                x, y = (finite_number(marker.findtext(name)) for name in ("MarkerX", "MarkerY"))
                places.append((x, y))
                slices.add(finite_number(marker.findtext("MarkerZ", "1")))
                types.add(type_name[:40])
        refuse_slices(path, len(slices), "markers")
        picture = root.findtext("Image_Properties/Image_Filename")
        notes = (NOTE,) if places else ()
        return [
            FileAnnotation(
                points_array(places, path, CELL_COUNTER.shift_px),
                picture=picture.strip() if picture and picture.strip() else None,
                notes=(*notes, *combined_classes_note(sorted(types), "marker types")),
            )
        ]
