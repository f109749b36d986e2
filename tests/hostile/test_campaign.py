"""No changed file crashes a reader, is taken wrongly, writes elsewhere or takes too much.

`CELLBENCH_HOSTILE=20000 pytest tests/hostile` tries as many; `CELLBENCH_HOSTILE_SEED` others.
"""

import os
import sys

import pytest

if sys.platform == "win32":
    pytest.skip("it needs fork and limits of POSIX", allow_module_level=True)

from campaign import campaign, make_input
from hostile_readers import READERS, Reader, UserError

COUNT = int(os.environ.get("CELLBENCH_HOSTILE", "2000"))
SEED = int(os.environ.get("CELLBENCH_HOSTILE_SEED", "0"))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name.replace(" ", "-"))
def test_changed_files_are_read_or_refused(reader):
    findings = campaign(reader, range(-(-COUNT // len(READERS))), seed=SEED)
    assert not findings, "\n".join(f"{f.number}: {f.what}" for f in findings[:5])


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name.replace(" ", "-"))
def test_unchanged_files_are_accepted(reader, tmp_path):
    for number, data in enumerate(reader.seeds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / reader.file).write_bytes(data)
        assert reader.use(folder / reader.file)


def broken(use):
    return Reader("broken", "a", lambda: [b"abc"], (lambda data, rng: data,), use)


def test_the_campaign_sees_every_kind_of_bad_end():
    def crashes(path):
        raise KeyError("x")

    def writes(path):
        (path.parents[1] / "elsewhere").touch()

    def floods(path):
        return bytes(16 * 2**30)  # more than a process before may have freed and kept

    def dies(path):
        os._exit(3)

    def babbles(path):
        raise UserError("two\nlines")

    words = {
        crashes: "KeyError", writes: "wrote outside", floods: "MemoryError", dies: "died",
        babbles: "no sentence",
    }  # fmt: skip
    for use, word in words.items():
        (finding,) = campaign(broken(use), [7], seed=0)
        assert finding.number == 7
        assert word in finding.what


def test_an_input_follows_from_its_number():
    for reader in READERS:
        assert make_input(reader, 1, 5) == make_input(reader, 1, 5)
