"""Reader of COCO: one JSON file for many images, with keypoints, outlines or boxes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    combined_classes_note,
    explained_parsing,
    finite_number,
    points_array,
    read_annotation_json,
    side_px,
)
from cellbench.data.annotation_formats.shapes import polygon_centroid
from cellbench.data.point_conventions import COCO_AREA, COCO_KEYPOINT

PROGRAM = "COCO"

_NOTES = {
    "keypoint": "COCO's keypoints have the centres of pixels at whole numbers: 0.5 was added.",
    "outline": "Each outline of COCO is one cell, at its centroid.",
    "box": "Each box of COCO is one cell, at its centre.",
}


def is_coco(document: Any) -> bool:
    """Return whether a JSON document has the lists `images` and `annotations`."""
    return (
        isinstance(document, Mapping)
        and isinstance(document.get("images"), list)
        and isinstance(document.get("annotations"), list)
    )


def read_coco(path: Path) -> list[FileAnnotation]:
    """Read one cell per annotation: mean of its visible keypoints, else its outline, else its box.

    Raises:
        UserError: the file is not in this format, or an annotation refers to an unlisted image.
    """
    document = read_annotation_json(path)
    with explained_parsing(path, PROGRAM):
        if not is_coco(document):
            raise ValueError("it has no tables called images and annotations")
        names = _categories(document.get("categories"))
        images: dict[Any, Mapping[str, Any]] = {}
        for image in document["images"]:
            if images.setdefault(_key(image["id"]), image) is not image:
                raise ValueError(f"two images have the id {image['id']!r}")
        places: dict[Any, list[tuple[float, float]]] = {key: [] for key in images}
        kinds: dict[Any, dict[str, None]] = {key: {} for key in images}
        classes = set()
        for one in document["annotations"]:
            key = _key(one["image_id"])
            if key not in places:
                raise ValueError(f"an annotation is of the image {key!r}, which is not listed")
            place, kind = _place(one)
            places[key].append(place)
            kinds[key][_NOTES[kind]] = None
            classes.add(names.get(_key(one.get("category_id", 0)), ""))
        shared = combined_classes_note(sorted(classes), "categories")
        return [
            FileAnnotation(
                points_array(places[key], path),
                picture=str(image["file_name"]),
                size=_size(image),
                notes=(*kinds[key], *shared),
            )
            for key, image in images.items()
        ]


def _key(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{str(value)[:40]!r} is no id")
    return value


def _categories(listed: Any) -> dict[int | str, str]:
    return {_key(one["id"]): str(one["name"])[:40] for one in listed or ()}


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    if "width" not in image or "height" not in image:
        return None
    return side_px(image["width"]), side_px(image["height"])


def _place(one: Mapping[str, Any]) -> tuple[tuple[float, float], str]:
    """Return the (x, y) position of an annotation's cell, and its key in `_NOTES`."""
    keypoints = one.get("keypoints") or []
    triples = [keypoints[at : at + 3] for at in range(0, len(keypoints), 3)]
    visible = [triple for triple in triples if finite_number(triple[2]) > 0]
    if visible:
        x = sum(finite_number(triple[0]) for triple in visible) / len(visible)
        y = sum(finite_number(triple[1]) for triple in visible) / len(visible)
        shift = COCO_KEYPOINT.shift_px
        return (x + shift, y + shift), "keypoint"
    shift = COCO_AREA.shift_px
    outline = one.get("segmentation")
    if isinstance(outline, list) and outline and isinstance(outline[0], list):
        longest = max(outline, key=len)
        corners = [
            (finite_number(x), finite_number(y))
            for x, y in zip(longest[::2], longest[1::2], strict=True)
        ]
        x, y = polygon_centroid([corners])
        return (x + shift, y + shift), "outline"
    left, top, width, height = (finite_number(value) for value in one["bbox"])
    return (left + width / 2 + shift, top + height / 2 + shift), "box"
