"""Feeds changed files to every reader and says which are taken wrongly, crash or take too much.

    python tests/hostile/campaign.py --count 20000 --seed 1

Every input follows from reader, seed and number, so that a finding is repeated by
`--only READER --first NUMBER --count 1`.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from hostile_readers import READERS, Reader, UserError  # noqa: E402

MOST_CPU_S = 10.0
MOST_BYTES = 2 * 2**30
MOST_WALL_S = 120


@dataclass(frozen=True)
class Finding:
    """An input that did not end well."""

    reader: str
    number: int
    what: str


class TooLongError(BaseException):
    """An input took longer than `MOST_WALL_S`."""


def make_input(reader: Reader, seed: int, number: int) -> bytes:
    """The bytes of one input."""
    rng = random.Random(zlib.crc32(f"{reader.name} {seed} {number}".encode()))
    return rng.choice(reader.mutate)(rng.choice(reader.seeds()), rng)


def campaign(reader: Reader, numbers: Sequence[int], *, seed: int) -> list[Finding]:
    """Try some inputs in a process of its own, whose memory is bounded.

    Returns:
        What was found; a process that dies is a finding of the input that it was at.
    """
    findings: list[Finding] = []
    left = list(numbers)
    while left:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            code = 1
            try:
                _work(reader, left, seed, write_end)
                code = 0
            finally:
                os._exit(code)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as stream:
            lines = stream.read().decode("utf-8", "replace").splitlines()
        _, status = os.waitpid(child, 0)
        done = [int(line[1:]) for line in lines if line.startswith(">")]
        for line in lines:
            if line.startswith("!"):
                number, _, what = line[1:].partition(" ")
                findings.append(Finding(reader.name, int(number), what))
        if status == 0:
            break
        at = done[-1] if done else left[0]
        findings.append(Finding(reader.name, at, f"the process died, status {status}"))
        left = left[left.index(at) + 1 :]
    return findings


def _work(reader: Reader, numbers: Sequence[int], seed: int, out: int) -> None:
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, hard))
    signal.signal(signal.SIGALRM, _stop)
    os.close(2)
    os.open(os.devnull, os.O_WRONLY)
    place = Path(tempfile.mkdtemp())
    try:
        for number in numbers:
            os.write(out, f">{number}\n".encode())
            for what in _try(reader, make_input(reader, seed, number), place):
                os.write(out, f"!{number} {' '.join(what.split())[:600]}\n".encode())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if peak - base > MOST_BYTES:
            os.write(out, f"!{numbers[-1]} the process took {peak - base} bytes\n".encode())
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _stop(number: int, frame: object) -> None:
    raise TooLongError


def _try(reader: Reader, data: bytes, place: Path) -> Iterator[str]:
    """What is wrong with how one input ends."""
    inside = place / "inside"
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir()
    path = inside / reader.file
    path.write_bytes(data)
    began = time.process_time()
    signal.alarm(MOST_WALL_S)
    try:
        reader.use(path)
    except UserError as error:
        if "\n" in str(error) or not str(error).strip():
            yield f"no sentence: {error!r}"
    except TooLongError:
        yield f"it took more than {MOST_WALL_S} s"
    except BaseException:
        yield traceback.format_exc()[-600:]
    finally:
        signal.alarm(0)
    took = time.process_time() - began
    if took > MOST_CPU_S:
        yield f"it took {took:.1f} s of CPU"
    outside = [p.name for p in place.iterdir() if p.name != "inside"]
    if outside:
        yield f"it wrote outside: {outside}"
    if path.is_file() and path.read_bytes() != data:
        yield "it changed its input"


def main() -> None:
    """Run from the command line; exit code 1 on a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only")
    chosen = parser.parse_args()
    readers = [r for r in READERS if chosen.only in (None, r.name)]
    each = -(-chosen.count // len(readers))
    found = 0
    for reader in readers:
        began = time.monotonic()
        numbers = range(chosen.first, chosen.first + each)
        findings = campaign(reader, numbers, seed=chosen.seed)
        found += len(findings)
        print(f"{reader.name}: {each} inputs, {len(findings)} findings, "  # noqa: T201
              f"{time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
        for finding in findings[:5]:
            print(f"  {finding.number}: {finding.what}", flush=True)  # noqa: T201
    sys.exit(found > 0)


if __name__ == "__main__":
    main()
