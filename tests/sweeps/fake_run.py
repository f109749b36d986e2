"""Stands in for `cellbench run`: reads the same command line, writes the same files, in no time.

`$FAKE_FOLDER` holds `orders.json`, {"<lr> <split>": "crash" | "hang" | "hang once" | "slow"},
and gets a line of `started.txt` and `done.txt` for every run.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from cellbench.sweeps.reporting import ProgressFile, stop_with_parent

parser = argparse.ArgumentParser()
parser.add_argument("config")
for name in ("split", "seed"):
    parser.add_argument(f"--{name}", type=int)
for name in ("protocol", "device", "store", "report"):
    parser.add_argument(f"--{name}")
for name in ("strict", "with-parent"):
    parser.add_argument(f"--{name}", action="store_true")
given = parser.parse_args()
stop_with_parent()

folder = Path(os.environ["FAKE_FOLDER"])
config: dict = {}
exec(Path(given.config).read_text(), config)
del config["__builtins__"]
name = f"{config['optimizer']['lr']} {given.split}"


def note(file: str) -> None:
    with (folder / file).open("a") as stream:
        stream.write(name + "\n")


note("started.txt")
orders = json.loads((folder / "orders.json").read_text())
order = orders.get(name, "")
progress = ProgressFile(Path(given.report))
progress.update(now=True, phase="training", steps=10, step=1, loss=1.0)
if order == "crash":
    sys.exit("cellbench: The loss is nan at step 4; the last good checkpoint is kept.")
if order == "hang" or (order == "hang once" and not (folder / "hung").exists()):
    (folder / "hung").touch()
    time.sleep(600)
time.sleep(2.0 if order == "slow" else float(orders.get("seconds", 0)))

from record_samples_light import light_record  # noqa: E402 (numpy, after what may be killed)

record = light_record(
    config,
    dataset=config["data"]["set"],
    protocol=given.protocol,
    split=given.split,
    seed=given.seed,
    store=Path(given.store),
)
note("done.txt")
progress.update(now=True, phase="done", record=str(record))
