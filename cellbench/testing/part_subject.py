"""A part under test, and the method that it is tried in."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cellbench.config.sources import find_config, load_file
from cellbench.registry import REGISTRIES
from cellbench.testing.samples import CounterCase

# A method that has a place for each role.
HOSTS = {
    "target": "cellbench:methods/csrnet.py",
    **dict.fromkeys(
        ("backbone", "conv", "decoder", "head", "matcher", "loss"), "cellbench:methods/p2pnet.py"
    ),
}


@dataclass(frozen=True, slots=True)
class PartSubject:
    """A part under test.

    Attributes:
        role: as in `cellbench.registry.REGISTRIES`.
        config: `type` and options, as in a method's config.
        model: of a method that uses it so; None for one of cellbench's with the part in its place.
    """

    role: str
    config: Mapping[str, Any]
    model: Mapping[str, Any] | None = None

    def build(self, **given: Any) -> Any:
        """The part."""
        return REGISTRIES[self.role].build(self.config, **given)

    def host(self) -> CounterCase:
        """The method that it is tried in."""
        if self.model is not None:
            return CounterCase(str(self.config["type"]), self.model)
        model = copy.deepcopy(load_file(find_config(HOSTS[self.role]))["model"])
        if self.role == "conv":
            model["decoder"]["conv"] = dict(self.config)
        else:
            model[self.role] = dict(self.config)
        return CounterCase(str(self.config["type"]), model)
