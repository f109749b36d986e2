"""Gain from training on corrected counts: the loop of docs/look.md on `nuclei`.

Each draw uses a split of `nuclei`. Eight annotated pictures of its training fields are imported as
a set; the method that `recommend` finds for it counts 24 pictures of other training fields; a
script corrects these counts to the ground truth with the requests of `cellbench view`; and `data
import --own --from counts` imports the corrected pictures as the next set. Printed are, before and
after, the recommended method and its mean absolute error over the pictures of the test fields:

    nice -n 10 python benchmarks/corrections_loop.py [--draws 3] [--budget 90]

The budget is that of one `recommend`, in seconds. The default takes at most ten minutes; it
compares baselines and, on a fast machine, the lightest networks.
"""

import argparse
import http.client
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cellbench
from cellbench.counting.counted_folder import read_counted
from cellbench.counting.view_server import ViewServer
from cellbench.counting.view_session import ViewSession
from cellbench.data.points import format_points
from cellbench.data.splits import make_split
from cellbench.data.stored_set import StoredSet, open_set
from cellbench.metrics.localisation import match_points

ANNOTATED, OTHERS = 8, 24
RADIUS_PX = 6.0


@dataclass(frozen=True)
class Step:
    """Result before or after the correction.

    Attributes:
        pictures: number of training pictures.
        method: recommended method.
        expected: cross-validated mean absolute error, cells; None where it has none.
        error: mean absolute error over the held-out pictures, cells.
        off: absolute error on each held-out picture, cells.
    """

    pictures: int
    method: str
    expected: float | None
    error: float
    off: tuple[float, ...]


def main() -> None:
    """Run all draws and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first split")
    parser.add_argument("--budget", type=float, default=90.0)
    parser.add_argument("--say", action="store_true", help="print what recommend says")
    asked = parser.parse_args()
    weights = Path(os.environ.get("CELLBENCH_HOME", "~/.cache/cellbench")).expanduser() / "weights"
    lines, sides = [], []
    for split in range(asked.first, asked.first + asked.draws):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "home"
            home.mkdir()
            if weights.is_dir():
                (home / "weights").symlink_to(weights.resolve())
            os.environ["CELLBENCH_HOME"] = str(home)
            line, *errors = draw(Path(folder), split, asked.budget, say=asked.say)
            lines.append(line)
            sides.append(errors)
            if asked.say:
                print(line, flush=True)
    before, after = np.mean(sides, axis=0)
    print("split | before | corrected | after")
    print("\n".join(lines))
    print(f"mean of {len(sides)} draws: {before:.2f} before, {after:.2f} after")


def draw(folder: Path, split: int, budget: float, *, say: bool) -> tuple[str, float, float]:
    """Run one loop in an empty folder; return a table line and the errors before and after."""
    stored = open_set("nuclei")
    parts = make_split(stored, protocol="v1", split=split)
    known = one_a_field(stored, parts.train, np.random.default_rng(split))
    annotated, others = known[:ANNOTATED], known[ANNOTATED : ANNOTATED + OTHERS]
    copy_pictures(stored, annotated, folder / "annotated", with_points=True)
    copy_pictures(stored, others, folder / "others")
    copy_pictures(stored, parts.test, folder / "held-out")
    cellbench.import_own(f"loop{split}-before", folder / "annotated")
    run, before = teach(stored, folder, f"loop{split}-before", budget, say)
    counts = folder / "counts"
    cellbench.count(folder / "others", run, out=counts, no_pictures=True)
    added, removed = correct(stored, counts)
    cellbench.import_own(f"loop{split}-after", counts)
    _, after = teach(stored, folder, f"loop{split}-after", budget, say)
    gain = np.subtract(after.off, before.off)
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    line = (
        f"{split} | {shown(before)} | {added} added, {removed} taken away in {OTHERS} pictures | "
        f"{shown(after)}; change {gain.mean():+.2f} ± {1.96 * error:.2f}"
    )
    return line, before.error, after.error


def one_a_field(stored: StoredSet, ids: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Select one picture of each field, in random order."""
    by_field: dict[str | None, list[str]] = {}
    for image_id in ids:
        by_field.setdefault(stored.group(image_id), []).append(image_id)
    chosen = [own[rng.integers(len(own))] for own in by_field.values()]
    return [chosen[index] for index in rng.permutation(len(chosen))]


def copy_pictures(
    stored: StoredSet, ids: Sequence[str], folder: Path, *, with_points: bool = False
) -> None:
    """Copy pictures into a folder, on request with their points as text files."""
    folder.mkdir()
    for image_id in ids:
        entry = stored.entry(image_id)
        shutil.copy(stored.folder / entry.image, folder / f"{image_id}{entry.suffix}")
        if with_points:
            points = stored.sample(image_id).points
            (folder / f"{image_id}.txt").write_bytes(format_points(points))


def teach(
    stored: StoredSet, folder: Path, name: str, budget: float, say: bool
) -> tuple[Path, Step]:
    """Recommend a method for a set, and count the held-out pictures with it."""
    began = time.monotonic()
    found = cellbench.recommend(
        name, budget=budget, store=str(folder), say=print if say else lambda text: None
    )
    if say:
        for one in found.results:
            print(f"  {one.name}: {one.state} {one.error and round(one.error.mae, 2)} {one.note}")
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
    counted = cellbench.count(
        folder / "held-out", found.folder, out=folder / f"counts-{name}", no_pictures=True
    ).counts
    off = tuple(
        abs(float(count) - len(stored.sample(Path(image).stem).points))
        for image, count in zip(counted["image"], counted["count"], strict=True)
    )
    chosen = next(one for one in found.results if one.state == "recommended")
    expected = None if chosen.error is None else chosen.error.mae
    pictures = len(open_set(name))
    return found.folder, Step(pictures, found.method, expected, float(np.mean(off)), off)


def correct(stored: StoredSet, counts: Path) -> tuple[int, int]:
    """Correct every picture of a counted folder to its ground truth, through the viewer.

    Returns:
        Number of cells added, and removed.
    """
    added = removed = 0
    with ViewServer(ViewSession(read_counted(counts))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for index, picture in enumerate(server.session.counted.pictures):
            truth = stored.sample(Path(picture.name).stem).points
            shown = np.array(ask(server, f"picture/{index}")["points"]).reshape(-1, 2)
            rows, columns = match_points(shown, truth, RADIUS_PX)
            false = np.delete(shown, rows, axis=0).tolist()
            missed = np.delete(truth, columns, axis=0).tolist()
            changes = [["removed", x, y] for x, y in false] + [["added", x, y] for x, y in missed]
            answer = ask(server, f"change/{index}", [*changes, ["checked", 0, 0]])
            assert answer["picture"]["counts"]["corrected"] == len(truth)
            added, removed = added + len(missed), removed + len(false)
        server.shutdown()
    return added, removed


def ask(server: ViewServer, path: str, body: Any = None) -> Any:
    """Send a request as the viewer's page does, and return the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    data = None if body is None else json.dumps(body)
    method = "GET" if body is None else "POST"
    sent = {"Content-Type": "application/json"}
    connection.request(method, f"/{server.token}/{path}", body=data, headers=sent)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def shown(step: Step) -> str:
    """Format a result for the table."""
    expected = "–" if step.expected is None else f"{step.expected:.2f}"
    return (
        f"{step.pictures} pictures: {step.method}, {expected} cross-validated, "
        f"{step.error:.2f} on {len(step.off)} held-out pictures"
    )


if __name__ == "__main__":
    main()
