"""Every method of the shipped configs trains and scores on simulated images, without weights."""

from pathlib import Path

import pytest

from cellbench.config.sources import config_folders
from cellbench.data.simulated import simulate_set
from cellbench.engine.request import Request
from cellbench.engine.run import run

pytestmark = pytest.mark.slow

SETS = ("adi", "mbm", "vgg", "dcc")
STEMS = sorted(path.stem for path in (config_folders()[-1] / "methods").glob("*.py"))

# Each on one set, in turn: that a method's networks fit the pictures of every set is a matter of
# sizes, which test_counters.py covers; the grid test runs all sets.
RUNS = [(stem, SETS[index % len(SETS)]) for index, stem in enumerate(STEMS)]

# They need a package with weights of its own; test_method_zero_shot.py has a stand-in.
OUTSIDE = ("cellpose_zeroshot", "stardist_zeroshot")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLBENCH_HOME", str(folder))
        patch.setenv("CELLBENCH_OFFLINE", "1")
        for name in SETS:
            simulate_set(f"{name}-sim")
        yield folder


@pytest.mark.parametrize(("stem", "name"), [pair for pair in RUNS if pair[0] not in OUTSIDE])
def test_the_method_trains_scores_and_writes_a_record(sets, tmp_path, stem, name):
    outcome = run(
        Request(
            f"configs/methods/{stem}.py",
            dataset=f"{name}-sim",
            protocol="smoke",
            epochs=1,
            store=str(tmp_path),
            overrides=(
                "data.batch_size=2",
                "data.crops_per_image=1",
                "schedule.validations=1",
            ),
        )
    )
    record = outcome.record
    assert record["dataset"] == f"{name}-sim"
    assert record["simulated"] is True
    assert record["metrics"]["images"] == len(record["images"]) == 2
    errors = [abs(image["prediction"] - image["truth"]) for image in record["images"]]
    assert record["metrics"]["mae"] == pytest.approx(sum(errors) / 2)
