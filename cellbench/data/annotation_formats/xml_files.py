"""Parsing of untrusted XML: no entities, no references to other files, a limited size."""

from pathlib import Path
from typing import TYPE_CHECKING

from cellbench.data.annotation_formats.file_annotation import (
    explained_parsing,
    read_annotation_bytes,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read_xml(path: Path, program: str) -> "Element":
    """Parse an XML file and return its root.

    Args:
        path: of the file.
        program: whose format is expected, for messages.

    Raises:
        UserError: the file is not XML, is too large, or declares entities or a document type.
    """
    data = read_annotation_bytes(path)
    with explained_parsing(path, program):
        from defusedxml.ElementTree import fromstring

        root: Element = fromstring(data, forbid_dtd=True)
        return root
