"""Contract tests of all parts that an installed package registers, and of its configs."""

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cellbench import plugin_index
from cellbench.config.compose import resolve
from cellbench.config.sources import load_file, package_folders
from cellbench.errors import UserError
from cellbench.plugin_index import Entry
from cellbench.registry import REGISTRIES
from cellbench.testing import counters, data, network_parts
from cellbench.testing.contract_claim import CannotCheckError, Claim, require, sentence
from cellbench.testing.samples import CounterCase


@dataclass(frozen=True, slots=True)
class Check:
    """Check of one claim about one part, config or module.

    Attributes:
        subject: such as "matcher MyMatcher" or "configs/methods/mine.py".
        claim: a sentence without its full stop.
        run: raises if the claim does not hold.
    """

    subject: str
    claim: str
    run: Callable[[], None]

    def problem(self) -> str:
        """Run the check and return why the claim does not hold; empty if it does.

        Raises:
            CannotCheckError: this machine cannot check the claim.
        """
        try:
            self.run()
        except (KeyboardInterrupt, CannotCheckError):
            raise
        except BaseException as error:  # a plugin may fail in any way, and may call sys.exit
            frame = traceback.extract_tb(error.__traceback__)[-1]
            reason = " ".join(str(error).split())[:500] or type(error).__name__
            if isinstance(error, AssertionError | UserError):
                return reason
            return f"{type(error).__name__}: {reason} ({frame.filename}:{frame.lineno})"
        return ""


def installed_packages() -> dict[str, list[Entry]]:
    """List the parts of each installed distribution with an entry point, except cellbench."""
    found: dict[str, list[Entry]] = {
        point.dist.name: []
        for point in plugin_index.installed_plugins()
        if point.dist is not None and point.dist.name != "cellbench"
    }
    for entry in plugin_index.entries():
        if entry.distribution in found:
            found[entry.distribution].append(entry)
    return found


def find_package(name: str) -> str:
    """Find the installed plugin package of a name, compared as pip compares names.

    Raises:
        UserError: there is none.
    """
    packages = sorted(installed_packages())
    for package in packages:
        if _folded(package) == _folded(name):
            return package
    known = f"installed are {', '.join(packages)}" if packages else "none is installed"
    raise UserError(
        f"No installed package {name!r} has an entry point in the group {plugin_index.GROUP}; "
        f"{known}, and `cellbench new` writes one."
    )


def _folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def failures(name: str) -> list[str]:
    """Check an installed package; returns one sentence per failure, empty if every check holds.

    Claims that this machine cannot check are skipped.

    Args:
        name: name of the package, as pip takes it.

    Raises:
        UserError: no such package with a plugin is installed.
    """
    found = []
    for check in checks_of(find_package(name)):
        with suppress(CannotCheckError):
            if why := check.problem():
                found.append(f"{check.subject}: {check.claim}: {why}")
    return found


def checks_of(distribution: str) -> Iterator[Check]:
    """Yield the checks of an installed package: its modules, its configs, then part by part.

    Run each check before the next is generated, which may depend on it.

    Args:
        distribution: name of the package as it was installed.
    """
    entries = installed_packages()[distribution]
    for module in plugin_index.unread_modules():
        if module.distribution == distribution and module.reason:
            broken = partial(require, False, f"it {module.reason}")
            yield Check(f"module {module.module}", "can be read", broken)
    require_some = partial(
        require, bool(entries), "no class of it has a decorator such as @MATCHERS.register_module()"
    )
    yield Check(distribution, "registers a part", require_some)
    roots = {entry.module.partition(".")[0] for entry in entries}
    folders = [folder for name, folder in package_folders().items() if name in roots]
    models: dict[str, Mapping[str, Any]] = {}
    values: list[Mapping[str, Any]] = []
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            shown = f"configs/{file.relative_to(folder).as_posix()}"
            check = Check(shown, "is a whole config", partial(_resolve, file, folder))
            yield check
            if not check.problem():
                values.append(load_file(file))
                if file.parent == folder / "methods":
                    models[file.stem] = values[-1]["model"]
    for entry in entries:
        name = f"{entry.role} {entry.name}"
        yield Check(name, "is imported, and has a docstring", partial(_import, entry))
        yield from _checks_of_part(entry, models, values)


def _resolve(file: Path, folder: Path) -> None:
    """Compose a config as it is used: a method with ADI, a data set with P2PNet."""
    kind = file.relative_to(folder).parts[0]
    if kind == "methods":
        values = load_file(file)
        resolve(file, dataset=None if "data" in values else "adi")
    elif kind == "datasets":
        require("data" in load_file(file), "it has no `data`")
        resolve("cellbench:methods/p2pnet.py", dataset=file.stem)
    elif file.parent == folder:
        resolve(file)


def _import(entry: Entry) -> None:
    REGISTRIES[entry.role].get(entry.name)
    require(bool(entry.summary), "its class has no docstring, which `cellbench plugins` shows")


def _checks_of_part(
    entry: Entry, models: Mapping[str, Mapping[str, Any]], values: Sequence[Mapping[str, Any]]
) -> Iterator[Check]:
    name = f"{entry.role} {entry.name}"
    if entry.role == "counter":
        cases = [CounterCase(k, m) for k, m in models.items() if m.get("type") == entry.name]
        some = partial(require, bool(cases), "no file in the package's configs/methods is of it")
        yield Check(name, "has a config", some)
        for case in cases:
            yield from _checks_of_counter(f"method {case.name}", case)
        return
    # The part as the package's own configs use it; else with the defaults of its options.
    uses = [
        (whole.get("model"), node)
        for whole in values
        for role, node in _nodes(whole)
        if role == entry.role and node["type"] == entry.name
    ]
    model, node = uses[0] if uses else (None, {"type": entry.name})
    subject: Any
    claims: tuple[Claim, ...]
    if entry.role in network_parts.CLAIMS:
        claims = network_parts.CLAIMS[entry.role]
        subject = network_parts.PartSubject(entry.role, node, model)
    else:
        options = {key: value for key, value in node.items() if key != "type"}
        claims, subject = data.CLAIMS[entry.role], data.DataSubject(entry.name, options)
    for claim in claims:
        yield Check(name, sentence(claim), partial(claim, subject))


def _checks_of_counter(name: str, case: CounterCase) -> Iterator[Check]:
    built: list[counters.CounterSubject] = []
    build = Check(
        name, "is built and, if it trains itself, trained",
        lambda: built.append(counters.CounterSubject.of(case)),
    )  # fmt: skip
    yield build
    if not built:
        return  # its error is the result of the check
    claims = counters.COUNTING_CLAIMS
    if built[0].stepped:
        claims = counters.STEP_CLAIMS + claims + counters.CUDA_CLAIMS
    else:
        claims = counters.FIT_CLAIMS + claims
    for claim in claims:
        yield Check(name, sentence(claim), partial(claim, built[0]))


def _nodes(node: Any, role: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every part below a config node, with its key as the role."""
    if isinstance(node, Mapping):
        if role and "type" in node:
            yield role, node
        for key, child in node.items():
            yield from _nodes(child, "transform" if key in ("augment", "prepare") else key)
    elif isinstance(node, list | tuple):
        for child in node:
            yield from _nodes(child, role)
