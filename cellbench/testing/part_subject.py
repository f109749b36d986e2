"""Part under test, and the method that it is tested in."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cellbench.config.sources import find_config, load_file
from cellbench.registry import REGISTRIES
from cellbench.testing.samples import CounterCase

# The shipped method that a part of each role is tested in.
HOSTS = {
    "target": "cellbench:methods/csrnet.py",
    **dict.fromkeys(
        ("backbone", "conv", "decoder", "head", "matcher", "loss"), "cellbench:methods/p2pnet.py"
    ),
}


@dataclass(frozen=True, slots=True)
class PartSubject:
    """Part under test.

    Attributes:
        role: as in `cellbench.registry.REGISTRIES`.
        config: `type` and options, as in a method's config.
        model: model config of a method that uses the part; None to put it into one of `HOSTS`.
    """

    role: str
    config: Mapping[str, Any]
    model: Mapping[str, Any] | None = None

    def build(self, **given: Any) -> Any:
        """Build the part."""
        return REGISTRIES[self.role].build(self.config, **given)

    def host(self) -> CounterCase:
        """Return the method that the part is tested in."""
        if self.model is not None:
            return CounterCase(str(self.config["type"]), self.model)
        model = copy.deepcopy(load_file(find_config(HOSTS[self.role]))["model"])
        if self.role == "conv":
            model["decoder"]["conv"] = dict(self.config)
        else:
            model[self.role] = dict(self.config)
        return CounterCase(str(self.config["type"]), model)
