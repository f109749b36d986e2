"""The methods that are tried on one's own pictures, the cheapest first."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A method that may be recommended.

    Attributes:
        name: as people call it.
        config: that `cellbench run` takes.
        trained: whether it is trained by steps, and so costs time.
        control: whether it only shows what looking at the pictures is worth.
        from_counts: whether it learns from numbers of cells without places.
        kept: whether it is a kept model, of which nothing but a correction of counts is chosen.
        exposures: whether it sees its training pictures at other contrasts and ground levels.
        steady: whether it goes before others that cost the same and err about as much.
    """

    name: str
    config: str
    trained: bool = True
    control: bool = False
    from_counts: bool = False
    kept: bool = False
    exposures: bool = False
    steady: bool = False


BASELINES = (
    Candidate("MeanCount", "methods/meancount.py", trained=False, control=True, from_counts=True),
    Candidate("BlobLoG", "methods/bloblog.py", trained=False, from_counts=True),
    # From 16 pictures of nuclei (16 draws of the training fields of split 0) it erred by 10.2 % on
    # other fields and BlobLoG by 11.2 %; the one of the two that erred less in the folds by 10.5 %,
    # since a dozen pictures flatter one or the other. From 16 of VGG (4 draws) it erred by 10.2
    # cells and BlobLoG by 11.5; on ADI by 25.5 and 21.9 (4 draws): there the folds have to tell.
    Candidate("BlobForest", "methods/blobforest.py", trained=False, steady=True),
    Candidate("Watershed", "methods/watershed.py", trained=False, from_counts=True),
)
# In the order in which they are worth their time where there is little of it.
LIGHT = (
    Candidate("UNetPeaks", "methods/unetpeaks.py", exposures=True),
    Candidate("P2PNet", "methods/p2pnet.py"),
    Candidate("FCRN-A", "methods/fcrn.py"),
    Candidate("MCNN", "methods/mcnn.py"),
)
HEAVY = (
    Candidate("DLA", "methods/dla.py"),
    Candidate("UNet", "methods/unet.py"),
    Candidate("StarDist", "methods/stardist.py"),
)


def candidates(*, gpu: bool, counts_only: bool) -> tuple[list[Candidate], list[Candidate]]:
    """Baselines, and the networks to try after them.

    Args:
        gpu: whether there is one, so that heavy networks fit too.
        counts_only: whether cells are counted and not marked.
    """
    networks = [*LIGHT, *HEAVY] if gpu else list(LIGHT)
    return (
        [one for one in BASELINES if one.from_counts or not counts_only],
        [one for one in networks if one.from_counts or not counts_only],
    )
