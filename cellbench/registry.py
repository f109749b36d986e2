"""Registries of parts, one per role, filled by plugins.

A plugin is a distribution with an entry point in the group `cellbench.plugins` that names a
package or module; the parts that come with cellbench are found the same way. Nothing is imported
before a part is requested: `plugin_index` reads which module registers which name, and a registry
imports that module alone. So a broken plugin does not affect the others, and listing parts never
imports torch.
"""

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine.registry import Registry

from cellbench import plugin_index
from cellbench.annotations import describe, fits
from cellbench.errors import PartError


class PartRegistry(Registry):
    """mmengine Registry that imports plugins on demand and suggests names in its errors.

    Differs: mmengine resolves a dotted type name by importing it, which would let a config run
    any callable; here a part must be registered. mmengine also guesses scopes; here a role has
    one flat list of names.

    Attributes:
        name: the role, a singular noun, as shown to users.
    """

    def get(self, key: str) -> type:
        """Return the class registered under a name; its plugin is imported if necessary.

        Raises:
            PartError: the name is unknown, dotted or registered twice, or its plugin cannot be
                imported.
        """
        if not isinstance(key, str):
            raise PartError(
                f"The type of a {self.name} is a name in quotes, not {key!r}; "
                f"one of {_listed(self.names())}."
            )
        if "." in key:
            raise PartError(
                f"{key!r} is a dotted name; a {self.name} is named as it is registered: "
                f"{_listed(self.names())}."
            )
        entries = plugin_index.find(self.name, key)
        if len(entries) > 1:
            places = " and ".join(f"{e.module} ({e.distribution})" for e in entries)
            raise PartError(
                f"The {self.name} {key!r} is registered twice, by {places}; "
                "uninstall one or rename it."
            )
        if key in self._module_dict:
            return self._module_dict[key]
        broken: list[str] = []
        if entries:
            entry = entries[0]
            try:
                plugin_index.import_module(entry.module)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # it may fail in any way, and may call sys.exit
                raise PartError(
                    f"The plugin {entry.module} of {entry.distribution} does not import "
                    f"({_error_text(error)}); mend or uninstall it."
                ) from error
        else:
            broken = _import_unread_modules()
        if key not in self._module_dict:
            raise PartError(self._unknown(key, broken))
        return self._module_dict[key]

    def build(self, cfg: Mapping[str, Any], path: str = "", **given: Any) -> Any:
        """Build a part from its config.

        Args:
            cfg: `type` names the part; the rest are its keyword arguments.
            path: dotted key of the part in the config, for messages.
            given: arguments that the caller supplies, such as `in_shapes`.

        Raises:
            PartError: unknown part, or arguments that it does not take.
        """
        try:
            if not isinstance(cfg, Mapping) or "type" not in cfg:
                raise PartError(
                    f"A {self.name} is a dict with a 'type', one of {_listed(self.names())}, "
                    f"not {cfg!r}."
                )
            part = self.get(cfg["type"])
            options = {key: value for key, value in cfg.items() if key != "type"}
            check_arguments(part, options, given=tuple(given), path=path)
            return part(**options, **given)
        except PartError as error:
            if str(error).startswith(path):
                raise
            raise PartError(f"{path}: {error}") from None

    def __contains__(self, key: object) -> bool:
        """Return whether a name is known for this role, without importing a plugin."""
        return isinstance(key, str) and (
            key in self._module_dict or bool(plugin_index.find(self.name, key))
        )

    def names(self) -> list[str]:
        """List the names known for this role, sorted, without importing a plugin."""
        indexed = {entry.name for entry in plugin_index.entries() if entry.role == self.name}
        return sorted(indexed | set(self._module_dict))

    def _unknown(self, key: str, broken: list[str]) -> str:
        names = self.names()
        near = get_close_matches(key, names, n=3, cutoff=0.4)
        folded = [name for name in names if name.casefold() == key.casefold()]
        near = folded + [name for name in near if name not in folded]
        hint = f"did you mean {_listed(near)}?" if near else f"known are {_listed(names)}."
        lost = f" (plugins that failed: {'; '.join(broken)})" if broken else ""
        return f"There is no {self.name} called {key!r}{lost}; {hint}"


def check_arguments(
    part: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    given: tuple[str, ...] = (),
    path: str = "",
    parameters: Mapping[str, inspect.Parameter] | None = None,
) -> None:
    """Check the keyword arguments of a config against the signature of a part.

    Args:
        part: a registered class.
        options: from the config, without `type`.
        given: names of arguments that the caller supplies and a config must not.
        path: dotted key of the part in the config, for the message.
        parameters: allowed arguments by name; None for those of the part's signature.

    Raises:
        PartError: an argument is unknown, missing or of the wrong type.
    """
    allowed = dict(parameters or inspect.signature(part).parameters)
    if any(p.kind is p.VAR_KEYWORD for p in allowed.values()):
        return
    for name in given:
        allowed.pop(name, None)
    where = f"{path}." if path else ""
    for name, value in options.items():
        if name not in allowed:
            near = get_close_matches(name, allowed, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {_listed(sorted(allowed))}."
            raise PartError(f"{where}{name}: {part.__name__} takes no {name!r}; {hint}")
        wanted = allowed[name].annotation
        if wanted is not inspect.Parameter.empty and not fits(value, wanted):
            raise PartError(
                f"{where}{name}: {part.__name__} wants {describe(wanted)} here, not {value!r}."
            )
    for name, parameter in allowed.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            raise PartError(f"{where}{name}: {part.__name__} needs {name!r}; add it to the config.")


def _import_unread_modules() -> list[str]:
    """Import the plugins that may register a part in ways that the index cannot read.

    Returns:
        Name and error of each that fails.
    """
    broken: list[str] = []
    for module in plugin_index.unread_modules():
        try:
            plugin_index.import_module(module.module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # it may fail in any way, and may call sys.exit
            reason = module.reason or _error_text(error)
            broken.append(f"{module.module} of {module.distribution}, {reason}")
    return broken


def _error_text(error: BaseException) -> str:
    """Return the type and message of an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none"


BACKBONES = PartRegistry("backbone", scope="cellbench")
CONVS = PartRegistry("conv", scope="cellbench")
DECODERS = PartRegistry("decoder", scope="cellbench")
HEADS = PartRegistry("head", scope="cellbench")
MATCHERS = PartRegistry("matcher", scope="cellbench")
LOSSES = PartRegistry("loss", scope="cellbench")
TARGETS = PartRegistry("target", scope="cellbench")
TRANSFORMS = PartRegistry("transform", scope="cellbench")
DATASETS = PartRegistry("dataset", scope="cellbench")
SIMULATORS = PartRegistry("simulator", scope="cellbench")
COUNTERS = PartRegistry("counter", scope="cellbench")

REGISTRIES: dict[str, PartRegistry] = {
    registry.name: registry
    for registry in (
        BACKBONES, CONVS, DECODERS, HEADS, MATCHERS, LOSSES, TARGETS, TRANSFORMS,
        DATASETS, SIMULATORS, COUNTERS,
    )
}  # fmt: skip
