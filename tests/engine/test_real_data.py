"""The same on a few real images; collected where the real sets and weights are."""

import pytest

from cellbench.data.duplicates import find_duplicates
from cellbench.data.stored_set import open_set
from cellbench.engine.request import Request
from cellbench.engine.run import run

COUNTS = {"adi": 155.1, "mbm": 126.2, "vgg": 176.0}


@pytest.mark.slow
@pytest.mark.parametrize("dataset", COUNTS)
def test_dla_trains_and_scores_on_real_cells_from_imagenet_weights(dataset, tmp_path):
    outcome = run(
        Request(
            f"configs/dla_{dataset}.py",
            protocol="smoke",
            epochs=2,
            strict=True,
            store=str(tmp_path),
            overrides=("data.batch_size=4", "data.crops_per_image=2", "schedule.validations=1"),
        )
    )
    record = outcome.record
    assert record["dataset"] == dataset
    assert record["simulated"] is False
    assert record["weights"]["source"] == "vgg16-imagenet+bn"
    assert len(record["weights"]["sha256"]) == 64
    truths = [image["truth"] for image in record["images"]]
    assert all(0.2 * COUNTS[dataset] < truth < 3 * COUNTS[dataset] for truth in truths)
    assert record["curve"][-1]["loss"] < 1.5


def test_no_picture_is_in_two_parts_or_two_sets():
    twins = find_duplicates([open_set(name) for name in ("adi", "mbm", "vgg", "nuclei")])
    assert twins == []
