"""Which images belong together, known from their ids alone.

Sections of one slide share donor, stain and hand: they are no independent images, and what is
resampled is the slide. Asking the data sets themselves would import the plugins, which takes
longer than a leaderboard may; a test holds this table and the plugins together.
"""

import re
from collections.abc import Sequence

# Real set -> (the part of an id that two images of one cluster share, what a cluster is).
_CLUSTERS = {
    "mbm": (re.compile(r"(BM_GRAZ_HE_\d+_\d+)_\d+"), "slide"),
    "nuclei": (re.compile(r"(\d{3})_[0-9a-f]{16}"), "field"),
}


def cluster_names(dataset: str, image_ids: Sequence[str]) -> list[str]:
    """The cluster of every image: its slide or field where the set has them, else itself.

    Args:
        dataset: name of a set.
        image_ids: of its images; an id that does not name its cluster is one of its own.

    Returns:
        One name an image; empty without images.
    """
    if dataset not in _CLUSTERS:
        return list(image_ids)
    pattern, _ = _CLUSTERS[dataset]
    found = (pattern.fullmatch(image_id) for image_id in image_ids)
    return [m.group(1) if m else i for m, i in zip(found, image_ids, strict=True)]


def cluster_word(dataset: str) -> str:
    """What is resampled in a set, for people: "image", "slide" or "field"."""
    return _CLUSTERS[dataset][1] if dataset in _CLUSTERS else "image"
