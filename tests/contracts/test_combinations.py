"""Every combination of matcher, decoder and convolution trains and scores on every set."""

import itertools
from pathlib import Path

import pytest

from cellbench.data.simulated import simulate_set
from cellbench.engine.run import Request, run

pytestmark = pytest.mark.slow

MATCHERS = ("Hungarian", "KHM")
DECODERS = ("FPN", "GFD")
CONVS = ("Standard", "Deformable", "MDGC")
SETS = ("adi", "mbm", "vgg", "dcc")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLBENCH_HOME", str(folder))
        patch.setenv("CELLBENCH_OFFLINE", "1")
        for name in SETS:
            simulate_set(f"{name}-sim")
        yield folder


@pytest.mark.parametrize("dataset", SETS)
@pytest.mark.parametrize(
    ("matcher", "decoder", "conv"), list(itertools.product(MATCHERS, DECODERS, CONVS))
)
def test_the_combination_trains_scores_and_writes_a_record(
    sets, tmp_path, dataset, matcher, decoder, conv
):
    outcome = run(
        Request(
            "configs/methods/dla.py",
            dataset=f"{dataset}-sim",
            protocol="smoke",
            epochs=1,
            store=str(tmp_path),
            overrides=(
                f"model.matcher.type={matcher}",
                f"model.decoder.type={decoder}",
                f"model.decoder.conv.type={conv}",
                "model.backbone.weights=None",
                "data.batch_size=2",
                "data.crops_per_image=1",
                "schedule.validations=1",
            ),
        )
    )
    record = outcome.record
    used = {(part["role"], part["name"]) for part in record["plugins"]}
    assert used >= {("matcher", matcher), ("decoder", decoder), ("conv", conv)}
    assert record["dataset"] == f"{dataset}-sim"
    assert record["iterations"] == 2
    assert record["metrics"]["mae"] >= 0
    assert record["metrics"]["f1"] is not None
