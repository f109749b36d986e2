"""Duration of `cellbench site`, and speed of its overview and of the viewer in a browser.

Builds the site of generated records of 100 images each: once, again without changes, and after one
more record. Then opens the overview, and the viewer with thousands of cells on a picture of 100
megapixels, in headless Chromium:

    PYTHONPATH=tests:tests/counting python benchmarks/pages.py [--records 10000] [--methods 500]
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from browsing import chromium
from counted_samples import write_counts
from leaderboard import generate
from PIL import Image

from cellbench.counting.counted_folder import read_counted
from cellbench.counting.view_server import ViewServer
from cellbench.counting.view_session import ViewSession
from cellbench.reports.site.site_build import build_site

SIDE_PX = 10_000
CELLS = 5_000
FRAMES = """
const done = arguments[0];
const times = [];
const start = performance.now();
let n = 0;
view.zoom(2);
function next() {
  const began = performance.now();
  view.offset = [view.offset[0] + (n % 40 < 20 ? 7 : -7), view.offset[1]];
  view.paint();
  times.push(performance.now() - began);
  if (++n < 200) requestAnimationFrame(next);
  else {
    const rate = 200 * 1000 / (performance.now() - start);
    times.sort((a, b) => a - b);
    done([times[100], times[190], rate]);
  }
}
requestAnimationFrame(next);
"""


def main() -> None:
    """Time the site and the viewer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--methods", type=int, default=500)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.records:
            site(Path(folder), asked.records, asked.methods)
        viewer(Path(folder))


def site(store: Path, records: int, methods: int) -> None:
    """Build three times and open the overview."""
    generate(store, records, methods)
    os.environ |= {"CELLBENCH_HOME": str(store / "home"), "CELLBENCH_OFFLINE": "1"}
    # Imports are not part of the build time.
    build_site([store / "home"], store / "empty")
    last = max((store / "leaderboards/records/adi").glob("*.json"))
    kept = store / "kept.json"
    shutil.move(last, kept)
    build(store, "first build")
    build(store, "nothing new")
    shutil.move(kept, last)
    build(store, "one more record")
    page = store / "site/index.html"
    largest = max((store / "site").rglob("*.html"), key=lambda path: path.stat().st_size)
    print(
        f"overview {page.stat().st_size / 1e6:.2f} MB, largest {largest.stat().st_size / 1e6:.2f}"
    )
    with chromium() as driver:
        for _ in range(3):
            driver.get(page.as_uri())
            interactive = driver.execute_script(
                "const t = performance.getEntriesByType('navigation')[0]; return t.domInteractive"
            )
            print(f"overview interactive after {interactive:.0f} ms")


def build(store: Path, name: str) -> None:
    """Build and print the seconds, of the clock and of the processor."""
    began, busy = time.perf_counter(), time.process_time()
    built = build_site([store], store / "site")
    wall, busy = time.perf_counter() - began, time.process_time() - busy
    pages = f"{built.written} of {built.pages} pages"
    print(f"{name}: {wall:.2f} s ({busy:.2f} s of the processor), {pages}", flush=True)


def viewer(folder: Path) -> None:
    """Pan over a large picture with many cells and print the frame times."""
    rng = np.random.default_rng(0)
    path = folder / "large.png"
    rough = rng.integers(0, 255, (SIDE_PX // 50, SIDE_PX // 50, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((SIDE_PX, SIDE_PX)).save(path, compress_level=1)
    places = rng.uniform(0, SIDE_PX, (CELLS, 2))
    os.environ["CELLBENCH_MAX_PICTURE_MB"] = "2000"
    counts = write_counts(folder / "counts", {path: (places, rng.random(CELLS))})
    with ViewServer(ViewSession(read_counted(counts))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with chromium() as driver:
            driver.set_script_timeout(120)
            began = time.perf_counter()
            driver.get(server.address)
            while not driver.execute_script(
                "return [...view.tiles.values()].some((t) => t.complete && t.naturalWidth)"
            ):
                time.sleep(0.1)
            print(f"first tile after {time.perf_counter() - began:.1f} s")
            middle, slow, rate = driver.execute_async_script(FRAMES)
            print(f"a frame takes {middle:.1f} ms, 95 % below {slow:.1f} ms; {rate:.0f} frames/s")
        server.shutdown()


if __name__ == "__main__":
    main()
