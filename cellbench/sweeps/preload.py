"""What the process that runs are forked from imports: the libraries, and the parts of a grid."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from cellbench import plugin_index
from cellbench.config.schema import ResolvedConfig
from cellbench.sweeps.fork_client import ForkServer, NoServerError

# By name, since a sweep itself must not wait for torch. All that `cellbench run` imports on its
# way to the record; none of them touches a GPU or starts a thread.
LIBRARIES = (
    "torch",
    "torchvision",
    "scipy.optimize",
    "scipy.ndimage",
    "scipy.sparse.csgraph",
    "PIL.PngImagePlugin",
    "torch.utils.flop_counter",
    "pydantic",
    "cellbench.cli.run",
    "cellbench.cli.progress",
    "cellbench.engine.run",
    "cellbench.engine.pictures",
)


def start_server(
    configs: Iterable[ResolvedConfig], environment: Mapping[str, str]
) -> ForkServer | None:
    """A process to fork the runs of some configs from; None where that cannot be.

    Args:
        configs: of the runs.
        environment: what all their slots have in common.
    """
    with suppress(NoServerError):
        return ForkServer(modules_for(configs), environment=environment)
    return None


def modules_for(configs: Iterable[ResolvedConfig]) -> list[str]:
    """The modules that the runs of some configs import, each once, the libraries first.

    A part that no plugin registers is left out: its run will say so.
    """
    found = dict.fromkeys(LIBRARIES)
    for config in configs:
        found |= dict.fromkeys(
            entry.module
            for role, name in sorted(set(_parts(config)))
            for entry in plugin_index.find(role, name)
        )
    return list(found)


def _parts(config: ResolvedConfig) -> Iterator[tuple[str, str]]:
    """Role and name of every part that a config names."""
    yield from plugin_index.named_parts(config.model, "counter")
    yield "dataset", config.data.set.removesuffix("-sim")
    yield "simulator", config.data.set
    transforms = (*config.data.augment, *config.data.prepare)
    yield from plugin_index.named_parts(transforms, "transform")
