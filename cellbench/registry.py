"""One registry per role, filled by plugins.

A plugin is a distribution with an entry point in the group `cellbench.plugins` that names a
package or module; the parts that come with cellbench are found the same way. Nothing is imported
before a part is asked for: `plugin_index` reads which module registers which name, and a registry
imports that module alone. So one broken plugin never takes down the rest, and listing parts never
imports torch.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine.registry import Registry

from cellbench import plugin_index
from cellbench.errors import PartError


class PartRegistry(Registry):
    """An mmengine Registry that loads plugins on demand and explains itself.

    Differs: mmengine resolves a dotted type name by importing it, which would let a config run
    any callable; here a part must be registered. mmengine also guesses scopes; here a role has
    one flat list of names.
    """

    def __init__(self, role: str) -> None:
        """Make the registry of a role.

        Args:
            role: singular noun, as it is shown to users.
        """
        super().__init__(role, scope="cellbench")

    @property
    def role(self) -> str:
        """The role whose parts are registered here."""
        return self.name

    def get(self, key: str) -> type:
        """The class registered under a name.

        Raises:
            PartError: the name is unknown, dotted or registered twice, or its plugin does not
                import.
        """
        if not isinstance(key, str):
            raise PartError(
                f"The type of a {self.role} is a name in quotes, not {key!r}; "
                f"one of {_listed(self.names())}."
            )
        if "." in key:
            raise PartError(
                f"{key!r} is a dotted name; a {self.role} is named as it is registered: "
                f"{_listed(self.names())}."
            )
        broken: list[str] = []
        entries = plugin_index.find(self.role, key)
        if len(entries) > 1:
            places = " and ".join(f"{e.module} ({e.distribution})" for e in entries)
            raise PartError(
                f"The {self.role} {key!r} is registered twice, by {places}; "
                "uninstall one or rename it."
            )
        if entries and key not in self._module_dict:
            _import(entries[0])
        elif key not in self._module_dict:
            # A plugin may register in ways that the index cannot read (a loop, a helper).
            broken = _import_all(plugin_index.unread_modules())
        found = self._module_dict.get(key)
        if found is None:
            raise PartError(self._unknown(key, broken))
        return found

    def build(self, cfg: Mapping[str, Any], **given: Any) -> Any:
        """Make a part from its config.

        Args:
            cfg: `type` names the part; the rest are its keyword arguments.
            given: arguments that come from the assembly, such as `in_shapes`.

        Raises:
            PartError: unknown part, or arguments that it does not take.
        """
        if not isinstance(cfg, Mapping) or "type" not in cfg:
            raise PartError(
                f"A {self.role} is a dict with a 'type', one of {_listed(self.names())}, "
                f"not {cfg!r}."
            )
        options = {key: value for key, value in cfg.items() if key != "type"}
        part = self.get(cfg["type"])
        check_arguments(part, options, given=tuple(given))
        return part(**options, **given)

    def names(self) -> list[str]:
        """The names known for this role, sorted, without importing a plugin."""
        indexed = {entry.name for entry in plugin_index.entries() if entry.role == self.role}
        return sorted(indexed | set(self._module_dict))

    def _unknown(self, key: str, broken: list[str]) -> str:
        names = self.names()
        near = get_close_matches(key, names, n=3, cutoff=0.4)
        folded = [name for name in names if name.casefold() == key.casefold()]
        near = folded + [name for name in near if name not in folded]
        hint = f"did you mean {_listed(near)}?" if near else f"known are {_listed(names)}."
        lost = f" (plugins that failed: {'; '.join(broken)})" if broken else ""
        return f"There is no {self.role} called {key!r}{lost}; {hint}"


def check_arguments(
    part: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    given: tuple[str, ...] = (),
    path: str = "",
    name: str = "",
) -> None:
    """Check the keyword arguments of a config against the signature of a part.

    Args:
        part: a registered class, or the classmethod that makes it from a config.
        options: what the config gives, without `type`.
        given: names that the assembly supplies and a config must not.
        path: dotted key of the part in the config, for the message.
        name: what the message calls the part, where that is not its own name.

    Raises:
        PartError: an argument is unknown, missing or of the wrong type.
    """
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(part).parameters.items()
        if name not in given
    }
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        check_options(parameters, options, owner=name or part.__name__, path=path)


def check_options(
    parameters: Mapping[str, inspect.Parameter],
    options: Mapping[str, Any],
    *,
    owner: str,
    path: str,
) -> None:
    """Check what a config gives against what may be given.

    Args:
        parameters: by name.
        options: what the config gives, without `type`.
        owner: what the message calls the part.
        path: dotted key of the part in the config, for the message.

    Raises:
        PartError: an argument is unknown, missing or of the wrong type.
    """
    from typeguard import TypeCheckError, check_type

    where = f"{path}." if path else ""
    known = sorted(parameters)
    for name, value in options.items():
        if name not in parameters:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {_listed(known)}."
            raise PartError(f"{where}{name}: {owner} takes no {name!r}; {hint}")
        annotation = parameters[name].annotation
        if annotation is inspect.Parameter.empty or isinstance(annotation, str):
            continue
        try:
            check_type(value, annotation)
        except TypeCheckError:
            shown = getattr(annotation, "__name__", None) or str(annotation)
            if "[" in str(annotation) or "|" in str(annotation):
                shown = str(annotation)
            shown = shown.replace("collections.abc.", "").replace("typing.", "")
            raise PartError(f"{where}{name}: {owner} wants {shown} here, not {value!r}.") from None
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            raise PartError(f"{where}{name}: {owner} needs {name!r}; add it to the config.")


def _import(entry: "plugin_index.Entry | plugin_index.UnreadModule") -> None:
    try:
        importlib.import_module(entry.module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may fail in any way, and may call sys.exit
        raise PartError(
            f"The plugin {entry.module} of {entry.distribution} does not import "
            f"({_reason(error)}); mend or uninstall it."
        ) from error


def _import_all(modules: "Iterable[plugin_index.UnreadModule]") -> list[str]:
    """Import modules, each for itself; the name and the reason of every one that fails."""
    broken = []
    for module in modules:
        try:
            _import(module)
        except PartError as error:
            reason = module.reason or _reason(error.__cause__)
            broken.append(f"{module.module} of {module.distribution}, {reason}")
    return broken


def _reason(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none"


BACKBONES = PartRegistry("backbone")
CONVS = PartRegistry("conv")
DECODERS = PartRegistry("decoder")
HEADS = PartRegistry("head")
MATCHERS = PartRegistry("matcher")
LOSSES = PartRegistry("loss")
TARGETS = PartRegistry("target")
TRANSFORMS = PartRegistry("transform")
DATASETS = PartRegistry("dataset")
SIMULATORS = PartRegistry("simulator")
COUNTERS = PartRegistry("counter")

REGISTRIES: dict[str, PartRegistry] = {
    registry.role: registry
    for registry in (
        BACKBONES, CONVS, DECODERS, HEADS, MATCHERS, LOSSES, TARGETS, TRANSFORMS,
        DATASETS, SIMULATORS, COUNTERS,
    )
}  # fmt: skip
