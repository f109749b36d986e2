"""Candidate methods for a recommendation, the cheapest first."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """Method that may be recommended.

    Attributes:
        name: name in messages and tables.
        config: config for `cellbench run`.
        trained: whether it is trained by steps, and so takes time.
        control: whether it is a baseline that ignores the pixels and is never recommended.
        from_counts: whether it can be trained on counts without points.
        kept: whether it is a kept model, of which only the calibration of counts is fitted.
        exposures: whether its training pictures are augmented in contrast and background level.
        steady: whether it is preferred to methods of the same cost and about the same error.
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
    # With 16 pictures of nuclei (16 draws of the training fields of split 0) its error on other
    # fields was 10.2 %, BlobLoG's 11.2 %, and that of the one chosen by its error in the folds
    # 10.5 %, since a dozen pictures favour one or the other by chance. With 16 of VGG (4 draws) its
    # error was 10.2 cells and BlobLoG's 11.5; on ADI 25.5 and 21.9 (4 draws): the folds decide.
    Candidate("BlobForest", "methods/blobforest.py", trained=False, steady=True),
    Candidate("Watershed", "methods/watershed.py", trained=False, from_counts=True),
)
# In the order in which they are worth their time when the budget is small.
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
    """Return the baselines, and the networks to try after them.

    Args:
        gpu: whether there is a GPU, so that heavy networks can be trained too.
        counts_only: whether the annotations are counts without points.
    """
    networks = [*LIGHT, *HEAVY] if gpu else list(LIGHT)
    return (
        [one for one in BASELINES if one.from_counts or not counts_only],
        [one for one in networks if one.from_counts or not counts_only],
    )
