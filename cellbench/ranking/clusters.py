"""Clusters of dependent images, from image ids or from the groups in records of a user's own sets.

Sections of one slide share donor, stain and hand: they are not independent images, so the slide is
resampled. Reading the clusters from the data sets would import the plugins, which takes longer
than a leaderboard may; a test keeps this table consistent with the plugins.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

NO_GROUPS: Mapping[str, str] = MappingProxyType({})

# Real set -> (pattern of an image id, whose group 1 is the cluster; noun for a cluster).
_CLUSTERS = {
    "mbm": (re.compile(r"(BM_GRAZ_HE_\d+_\d+)_\d+"), "slide"),
    "nuclei": (re.compile(r"(\d{3})_[0-9a-f]{16}"), "field"),
}


def cluster_names(
    dataset: str, image_ids: Sequence[str], groups: Mapping[str, str] = NO_GROUPS
) -> list[str]:
    """Return the cluster of every image: its slide, field or group if it has one, else its id.

    Args:
        dataset: name of a set.
        image_ids: ids of images; one that does not match the set's pattern is its own cluster.
        groups: by image id, from the records of a user's own set.

    Returns:
        One name per image; empty without images.
    """
    if dataset not in _CLUSTERS:
        # the prefix separates a group from an ungrouped image of the same name
        return [f"group {groups[i]}" if i in groups else i for i in image_ids]
    pattern, _ = _CLUSTERS[dataset]
    found = (pattern.fullmatch(image_id) for image_id in image_ids)
    return [m.group(1) if m else i for m, i in zip(found, image_ids, strict=True)]


def cluster_word(dataset: str, groups: Mapping[str, str] = NO_GROUPS) -> str:
    """Return the noun for what is resampled in a set: "image", "slide", "field" or "group"."""
    if dataset in _CLUSTERS:
        return _CLUSTERS[dataset][1]
    return "group" if groups else "image"
