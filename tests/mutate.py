"""Change one line at a time and see whether a test fails: python tests/mutate.py [--lines 200].

`--again LOG` tries those once more that survived in the output of an earlier run.

The lines are a seeded sample of the metrics, the core and the matchers, changed in a copy of the
checkout. A change is tried on the fast test modules that bear the name of its module or import it.
Those that survive are tried again on slower modules. Who survives that too is a claim that no test
makes, or a change of the speed or of nothing. On Linux, macOS.
"""

import argparse
import ast
import compileall
import contextlib
import importlib
import os
import py_compile
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = (
    "cellbench/metrics/*.py", "cellbench/structures.py", "cellbench/models/*.py",
    "cellbench/engine/*.py", "cellbench/counting/tiles.py", "cellbench/ranking/statistics.py",
    "plugins/cellbench_plugins/matchers/*.py",
)  # fmt: skip
GPU_ONLY = ("cellbench/engine/capture.py",)
SLOW_TESTS = re.compile(r"/(cli|contracts|gpu|hostile|sweeps)/|/test_real_")


@dataclass(frozen=True, slots=True)
class Effort:
    """Which test modules are tried for a line.

    Attributes:
        candidates: at most so many, those nearest by name and import.
        seconds: of a core that they may take together; one that takes more is passed over.
        longest_s: one that takes longer is not tried.
    """

    candidates: int
    seconds: float
    longest_s: float


QUICK, PATIENT = Effort(14, 20.0, 15.0), Effort(14, 400.0, 300.0)
# Imported once, before the processes of the tests are forked; nothing of cellbench.
IMPORTED = ("torch", "torchvision", "mmengine.model", "pandas", "scipy.stats", "scipy.optimize",
            "skimage.feature", "safetensors.torch")  # fmt: skip
BINARY = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}  # fmt: skip
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
MESSAGES = ("annotation", "returns", "decorator_list", "exc")


@dataclass(frozen=True)
class Mutant:
    """A file with one change: its path, the line, what was replaced by what, the whole text."""

    file: str
    line: int
    was: str
    now: str
    text: str


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What a node of the syntax tree may be changed into."""
    match node:
        case ast.BinOp(left, op, right) if type(op) in BINARY:
            yield ast.BinOp(left, BINARY[type(op)](), right)
        case ast.AugAssign(target, op, value) if type(op) in BINARY:
            yield ast.AugAssign(target, BINARY[type(op)](), value)
        case ast.Compare(left, [op], right):
            yield ast.Compare(left, [COMPARISONS[type(op)]()], right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Return(ast.AST() as value) if getattr(value, "value", value) is not None:
            yield ast.Return(ast.Constant(None))
        case ast.Expr(ast.Call()):
            yield ast.Pass()


def reached(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below, but for annotations, errors and strings with values in them."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            if name not in MESSAGES:
                yield child
                yield from reached(child)


def mutants_of(file: Path) -> dict[int, list[Mutant]]:
    """All changes of a file, by line."""
    raw = file.read_bytes()
    starts = [0]
    for line in raw.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: dict[int, list[Mutant]] = {}
    for node in reached(ast.parse(raw)):
        for changed in changes(node):
            first = starts[node.lineno - 1] + node.col_offset
            last = starts[node.end_lineno - 1] + node.end_col_offset
            now = ast.unparse(ast.fix_missing_locations(changed))
            now = f"({now})" if isinstance(changed, ast.expr) else now
            was = " ".join(raw[first:last].decode().split())
            text = (raw[:first] + now.encode() + raw[last:]).decode()
            mutant = Mutant(str(file.relative_to(ROOT)), node.lineno, was, now, text)
            found.setdefault(node.lineno, []).append(mutant)
    return found


def sample(lines: int, seed: int) -> list[Mutant]:
    """One change of each of so many lines."""
    files = sorted({str(f.relative_to(ROOT)) for pattern in CODE for f in ROOT.glob(pattern)})
    by_line = [
        found
        for file in files
        if file not in GPU_ONLY
        for _, found in sorted(mutants_of(ROOT / file).items())
    ]
    rng = random.Random(seed)
    chosen = rng.sample(by_line, min(lines, len(by_line)))
    return [rng.choice(found) for found in chosen]


def survived(log: Path) -> list[Mutant]:
    """The changes that survived an earlier run, as far as their lines still stand."""
    verdicts: dict[tuple[str, str], str] = {}  # the last one holds
    for line in log.read_text(encoding="utf-8").splitlines():
        if told := re.fullmatch(r"\d+/\d+ (killed|SURVIVED) (\S+):(\d+)  (.*)", line):
            verdict, file, number, change = told.groups()
            verdicts[f"{file}:{number}", change] = verdict
    found = []
    for (place, change), verdict in verdicts.items():
        file, _, number = place.rpartition(":")
        if verdict == "SURVIVED" and (ROOT / file).is_file():
            same = [m for made in mutants_of(ROOT / file).values() for m in made]
            same = [m for m in same if f"{m.was}  ->  {m.now}" == change]
            found += sorted(same, key=lambda m: abs(m.line - int(number)))[:1]
    return found


def imports(file: Path) -> set[str]:
    """The names of the modules that a file imports, and of what it imports from them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def tests_of(files: set[str], most: int) -> dict[str, list[str]]:
    """Test modules by file: of its name, then those that import it, or a module that does."""
    tests = {str(t.relative_to(ROOT)): imports(t) for t in sorted(ROOT.glob("tests/**/test_*.py"))}
    sources = [*ROOT.glob("cellbench/**/*.py"), *ROOT.glob("plugins/**/*.py")]
    used_by = {_module(str(s.relative_to(ROOT))): imports(s) for s in sources}
    found = {}
    for file in files:
        module, name, folder = _module(file), Path(file).stem.strip("_"), Path(file).parent.name
        users = {module, *(other for other, used in used_by.items() if module in used)}
        ranks = {
            test: (name not in test, not used & users, f"/{folder}/" not in test)
            for test, used in tests.items()
            if not SLOW_TESTS.search(test) and (used & users or f"/{folder}/" in test)
        }
        found[file] = sorted(ranks, key=ranks.__getitem__)[:most]
    return found


def _module(file: str) -> str:
    return file.removeprefix("plugins/").removesuffix(".py").replace("/", ".")


def run_tests(tree: Path, tests: list[str], limit_s: float) -> tuple[bool, float]:
    """Whether all tests pass within a limit, and the seconds of a core that they took.

    Their process is forked from this one, which has torch imported but nothing of cellbench.
    """
    began, child = time.monotonic(), os.fork()
    if child == 0:
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s), int(limit_s) + 1))
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            os.chdir(tree)
            sys.path[:0] = [str(tree), str(tree / "plugins"), str(tree / "tests/toy_plugin")]
            os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:3])
            options = ["-q", "-x", "-p", "no:cacheprovider", "-m", "not slow and not gpu"]
            os._exit(int(importlib.import_module("pytest").main([*options, *tests])))
        finally:
            os._exit(1)  # nothing of the parent's is cleaned up here
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            return status == 0, used.ru_utime + used.ru_stime
        if time.monotonic() - began > 30 * limit_s:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        time.sleep(0.05)


class Suite:
    """The tests of a copy of the checkout; each module is run unchanged before it is believed."""

    def __init__(self, tree: Path, files: set[str], effort: Effort) -> None:
        self.tree, self.effort = tree, effort
        self.tests = tests_of(files, effort.candidates)
        self.seconds: dict[str, float] = {}

    def kills(self, mutant: Mutant) -> bool:
        """Whether a test fails on the changed file, or takes far longer than on the file."""
        file, left = self.tree / mutant.file, self.effort.seconds
        kept = file.read_text(encoding="utf-8")
        for test in self.tests[mutant.file]:
            if test not in self.seconds:
                passed, took = run_tests(self.tree, [test], self.effort.longest_s)
                self.seconds[test] = took if passed else float("inf")
            if self.seconds[test] > min(left, self.effort.longest_s):
                continue
            file.write_text(mutant.text, encoding="utf-8")
            passed, _ = run_tests(self.tree, [test], 3 * self.seconds[test] + 5)
            file.write_text(kept, encoding="utf-8")
            if not passed:
                return True
            left -= self.seconds[test]
        return False


def copy_checkout(tree: Path) -> None:
    """Copy what git would; compiled files are checked by their source's hash."""
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT)
    for name in listed.decode().splitlines():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    for package in ("cellbench", "plugins"):
        compileall.compile_dir(tree / package, quiet=2, invalidation_mode=mode)


def main() -> None:
    """Run the sample and name the survivors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files that match this regular expression")
    parser.add_argument("--again", type=Path, metavar="LOG", help="the survivors of that output")
    given = parser.parse_args()
    chosen = survived(given.again) if given.again else sample(given.lines, given.seed)
    left = [m for m in chosen if re.search(given.only, m.file)]
    total = len(left)
    for name in IMPORTED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        sys.dont_write_bytecode = True
        os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        os.environ.setdefault("CELLBENCH_SIMULATED", str(Path(folder) / "home"))
        copy_checkout(Path(folder) / "tree")
        for effort in (QUICK, PATIENT):
            suite = Suite(Path(folder) / "tree", {mutant.file for mutant in left}, effort)
            left = survivors(suite, left)
    print(f"{total - len(left)} of {total} changed lines made a test fail")


def survivors(suite: Suite, mutants: list[Mutant]) -> list[Mutant]:
    """Try each and say how it went; those that no test kills."""
    alive = []
    for number, mutant in enumerate(mutants, 1):
        dies = suite.kills(mutant)
        alive += [] if dies else [mutant]
        change = f"{mutant.file}:{mutant.line}  {mutant.was}  ->  {mutant.now}"
        print(f"{number}/{len(mutants)} {'killed' if dies else 'SURVIVED'} {change}", flush=True)
    return alive


if __name__ == "__main__":
    main()
