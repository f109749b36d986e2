"""Modules that the fork server imports: the libraries, and the parts of a grid's configs."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from cellbench import plugin_index
from cellbench.config.schema import ResolvedConfig
from cellbench.sweeps.fork_client import ForkServer, NoServerError

# All that `cellbench run` imports; none of them uses a GPU or starts a thread. Names, since a sweep
# itself must not import torch.
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
    """Start a server that forks the runs of some configs; None if runs cannot be forked here.

    Args:
        configs: configs of the runs.
        environment: variables that all their slots share.
    """
    with suppress(NoServerError):
        return ForkServer(modules_for(configs), environment=environment)
    return None


def modules_for(configs: Iterable[ResolvedConfig]) -> list[str]:
    """List the modules that the runs of some configs import, each once, the libraries first.

    Parts that no plugin registers are skipped: their runs report the error.
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
    """Yield role and name of every part that a config names."""
    yield from plugin_index.named_parts(config.model, "counter")
    yield "dataset", config.data.set.removesuffix("-sim")
    yield "simulator", config.data.set
    transforms = (*config.data.augment, *config.data.prepare)
    yield from plugin_index.named_parts(transforms, "transform")
