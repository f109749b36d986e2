"""Claims about disks without locks, hard links or fsync: what is written there is whole."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FAULTS = [
    "noflock nofcntl nolink nofsync",  # ENOLCK and EPERM: NFS, SMB
    "nosys xdev",  # ENOSYS and EXDEV: FUSE
    "noflock nosuplink",  # ENOTSUP
]
WORK = """
import os, sys, time
from pathlib import Path
from cellbench.files.writing import write_lock, write_atomically
from cellbench.files.locks import hold_folder
from cellbench.errors import UserError
from cellbench.records.result_cache import read_results, write_results
from cellbench.sweeps.claims import holder_of, take_claim

folder = Path(sys.argv[1])
write_atomically(folder / "file", b"whole")
assert (folder / "file").read_bytes() == b"whole"
with write_lock(folder, "set"):
    pass
for _ in range(2):
    with hold_folder(folder, elsewhere="--out", busy="Busy."):
        try:
            with hold_folder(folder, elsewhere="--out", busy="Busy."):
                sys.exit("two held one folder")
        except UserError as error:
            assert "delete" in str(error) and "lock" in str(error), error
claim = take_claim(folder / "run")
assert claim is not None and take_claim(folder / "run") is None
assert holder_of(folder / "run").pid == os.getpid()
claim.release()
began = time.monotonic()
write_results("runs", folder, {"a": ("1", b"x")})
assert read_results("runs", folder) in ({}, {"a": ("1", b"x")})
assert time.monotonic() - began < 5
assert take_claim(folder / "run") is not None
assert not [p.name for p in folder.rglob("*") if p.name.endswith((".held", ".partial"))]
"""


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """The library that makes system calls fail, compiled."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("there is no C compiler, or no LD_PRELOAD, here")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(HERE / "shim.c")]
    subprocess.run(command, check=True)
    return library


@pytest.mark.parametrize("faults", FAULTS)
def test_locks_claims_and_writes_work_without_locks_and_links(shim, tmp_path, faults):
    environment = {**os.environ, "LD_PRELOAD": str(shim), "SHIM": faults}
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_lock_of_a_killed_process_is_free(shim, tmp_path):
    environment = {**os.environ, "LD_PRELOAD": str(shim), "SHIM": FAULTS[0]}
    holding = "import os, sys; from pathlib import Path; from cellbench.files.locks import locked\n"
    holding += "with locked(Path(sys.argv[1]), wait=False):\n    os.kill(os.getpid(), 9)"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", holding, str(tmp_path / "lock")],
            env=environment,
            timeout=120,
            check=False,
        )
        assert done.returncode == -9


@pytest.mark.slow
@pytest.mark.parametrize("faults", FAULTS)
def test_the_commands_work_without_locks_and_links(shim, simulated_home, tmp_path, command, faults):
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    shutil.copytree(simulated_home / "data" / "adi-sim", home / "data" / "adi-sim")
    raw = tmp_path / "raw"
    (raw / "images").mkdir(parents=True)
    for kind in ("images", "points"):
        shutil.copytree(home / "data" / "adi-sim" / kind, raw / kind, dirs_exist_ok=True)
    grid = tmp_path / "grid.py"
    grid.write_text(
        'title = "One"\ndatasets = ["adi-sim"]\n'
        'methods = [dict(label="Mean", config="methods/meancount.py")]\n'
    )
    store = str(tmp_path / "store")
    faulty = {"LD_PRELOAD": str(shim), "SHIM": faults, "CELLBENCH_HOME": str(home)}
    faulty |= {"CELLBENCH_OFFLINE": "1", "CELLBENCH_STORE": store}
    method = "methods/bloblog.py"
    for arguments in (
        ("data", "import", "adi", "--from", str(raw)),
        ("run", method, "--dataset", "adi-sim", "--protocol", "smoke"),
        ("compare", str(grid), "--protocol", "smoke", "--splits", "0", "--seeds", "0"),
    ):
        done = command(*arguments, **faulty)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
    (run,) = (Path(store) / "runs" / "adi-sim").glob("bloblog*")
    picture = next((raw / "images").iterdir())
    out = str(tmp_path / "out")
    done = command("count", str(picture), "--with", str(run), "--out", out, **faulty)
    assert done.returncode == 0, done.stderr
    left = [p for p in tmp_path.rglob("*") if p.name.endswith((".held", ".partial"))]
    assert left == []
