"""Coverage of the count intervals of `cellbench count` on held-out pictures of nuclei.

    python benchmarks/intervals.py --draws 20

For every method with a record on `nuclei` (and the models that come with cellbench), the held-out
fields are divided into random halves, `--draws` times. The 90 % intervals are fitted to the
pictures of one half, as `count` fits them to all of them, and their coverage is measured on the
other half. Printed are the mean, the least and the greatest coverage over the draws. With `--by
image` pictures are divided instead of fields, as the theorem requires; fields of similar pictures
widen the spread.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cellbench.data.stored_set import StoredSet, open_set
from cellbench.metrics.prediction_intervals import count_intervals
from cellbench.records.kept_models import kept_models
from cellbench.records.record_file import read_record
from cellbench.records.run_files import RECORD


def main() -> None:
    """Print a line a method, and the mean over all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--by", choices=("field", "image"), default="field")
    parser.add_argument("--records", default="leaderboards/records/nuclei")
    asked = parser.parse_args()
    stored = open_set("nuclei")
    files = {model.name: model.folder / RECORD for model in kept_models() if model.shipped}
    files |= {path.stem: path for path in sorted(Path(asked.records).glob("*-v1-s*.json"))}
    means = []
    for name, file in files.items():
        record = read_record(file)
        if record["dataset"] != "nuclei" or record["protocol"] != "v1":
            continue
        found = coverages(record["images"], stored, asked.draws, by_field=asked.by == "field")
        means.append(float(np.mean(found)))
        print(f"{name[:60]:60} {100 * means[-1]:5.1f} %  ({100 * min(found):.1f} to "
              f"{100 * max(found):.1f})")  # fmt: skip
    print(f"mean over {len(means)} records: {100 * np.mean(means):.1f} %")


def coverages(
    images: Sequence[dict[str, float | str]], stored: StoredSet, draws: int, *, by_field: bool
) -> list[float]:
    """Compute the share of pictures whose interval holds the true count, for each draw."""
    truth = np.array([image["truth"] for image in images], dtype=np.float64)
    counts = np.array([image["prediction"] for image in images], dtype=np.float64)
    ids = [str(image["id"]) for image in images]
    units = np.array([(stored.group(i) or i) if by_field else i for i in ids])
    found = []
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(np.unique(units))
        known = np.isin(units, order[: len(order) // 2])
        intervals = count_intervals(truth[known], counts[known])
        assert intervals is not None  # there are some twenty fields in a half
        low, high = intervals.of(counts[~known])
        found.append(float(((low <= truth[~known]) & (truth[~known] <= high)).mean()))
    return found


if __name__ == "__main__":
    main()
