"""Which images belong together, known from their ids, or from records of sets of one's own.

Sections of one slide share donor, stain and hand: they are no independent images, and what is
resampled is the slide. Asking the data sets themselves would import the plugins, which takes
longer than a leaderboard may; a test holds this table and the plugins together.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

NO_GROUPS: Mapping[str, str] = MappingProxyType({})

# Real set -> (the part of an id that two images of one cluster share, what a cluster is).
_CLUSTERS = {
    "mbm": (re.compile(r"(BM_GRAZ_HE_\d+_\d+)_\d+"), "slide"),
    "nuclei": (re.compile(r"(\d{3})_[0-9a-f]{16}"), "field"),
}


def cluster_names(
    dataset: str, image_ids: Sequence[str], groups: Mapping[str, str] = NO_GROUPS
) -> list[str]:
    """The cluster of every image: its slide, field or group where the set has them, else itself.

    Args:
        dataset: name of a set.
        image_ids: of its images; an id that does not name its cluster is one of its own.
        groups: by image, of a set of one's own, as its records have them.

    Returns:
        One name an image; empty without images.
    """
    if dataset not in _CLUSTERS:
        # a group that is called as an image of none is another cluster
        return [f"group {groups[i]}" if i in groups else i for i in image_ids]
    pattern, _ = _CLUSTERS[dataset]
    found = (pattern.fullmatch(image_id) for image_id in image_ids)
    return [m.group(1) if m else i for m, i in zip(found, image_ids, strict=True)]


def cluster_word(dataset: str, groups: Mapping[str, str] = NO_GROUPS) -> str:
    """What is resampled in a set, for people: "image", "slide", "field" or "group"."""
    if dataset in _CLUSTERS:
        return _CLUSTERS[dataset][1]
    return "group" if groups else "image"
