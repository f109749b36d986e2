"""Claims about the division of a leaderboard's rows into tables."""

from dataclasses import replace

import pytest

from cellbench.ranking.leaderboards import pages
from cellbench.ranking.rows import PEOPLE, PUBLISHED, Row


def row(method: str, dataset: str, protocol: str) -> Row:
    return Row(
        method=method,
        method_title=method,
        dataset=dataset,
        simulated=dataset.endswith("-sim"),
        protocol=protocol,
        splits=(),
        seeds=(),
        runs=0,
        selection="val",
        weights="",
    )


def divided(*rows: Row) -> list[tuple[str, list[str]]]:
    return [(title, [row.method for row in page]) for title, page in pages(rows)]


DLA, FCRN = row("dla", "adi", "v1"), row("fcrn", "adi", "v1")
SMOKE, VGG = row("smoke", "adi", "smoke"), row("vgg", "vgg", "v1")
COUNTED, PAPER = row("people", "adi", PEOPLE), row("paper", "adi", PUBLISHED)
DCC, MBM = row("dcc", "dcc", PUBLISHED), row("mbm", "mbm", PUBLISHED)
SIMULATED = row("sim", "dcc-sim", "v1")


@pytest.mark.parametrize(
    ("rows", "tables"),
    [
        ((), []),
        ((FCRN, DLA), [("adi, protocol v1", ["fcrn", "dla"])]),
        (
            (DLA, SMOKE, VGG, COUNTED, PAPER),
            [
                ("adi, protocol v1", ["dla", "people", "paper"]),
                ("adi, protocol smoke", ["smoke"]),
                ("vgg, protocol v1", ["vgg"]),
            ],
        ),
        ((DCC, SIMULATED), [("dcc, published", ["dcc"]), ("dcc-sim, protocol v1", ["sim"])]),
        (
            (VGG, MBM, DCC),
            [
                ("vgg, protocol v1", ["vgg"]),
                ("dcc, published", ["dcc"]),
                ("mbm, published", ["mbm"]),
            ],
        ),
        ((COUNTED, PAPER), [("adi, people", ["people", "paper"])]),
    ],
    ids=[
        "without rows",
        "in their order",
        "below the first table of their set",
        "before the simulator",
        "several sets come last",
        "people and papers alone",
    ],
)
def test_people_and_papers_are_below_the_methods_of_their_set(rows, tables):
    assert divided(*rows) == tables


def test_a_title_is_only_text():
    assert divided(replace(DCC, dataset="d\x1b[31mcc\n")) == [("d[31mcc, published", ["dcc"])]
