"""The length of a run as the command line gives it: epochs, or a wall-clock budget."""

from dataclasses import replace

from cellbench import plugin_index
from cellbench.config import ResolvedConfig
from cellbench.config_ranges import RANGES
from cellbench.errors import UserError
from cellbench.plugin_classes import class_constant


def trained_by_steps(config: ResolvedConfig) -> bool:
    """Whether the method of a config is trained by gradient steps; imports no plugin."""
    entries = plugin_index.find("counter", str(config.model.get("type")))
    return len(entries) != 1 or class_constant(entries[0], "trained_by_steps", True) is not False


def with_length(
    config: ResolvedConfig, *, epochs: int | None = None, budget_s: float | None = None
) -> ResolvedConfig:
    """The config with the length that the command line gives.

    A method that is not trained by steps gives one result whatever the length, so that it keeps
    its config, and with it its run id, as it is.

    Args:
        config: resolved.
        epochs: passes over the training images; None for the config's.
        budget_s: wall-clock seconds to fit the steps to; None for no budget.

    Raises:
        UserError: a number that no run can have.
    """
    for option, key, value in (
        ("--epochs", "data.epochs", epochs),
        ("--budget", "schedule.budget_s", budget_s),
    ):
        if value is not None and value not in RANGES[key]:
            raise UserError(f"{option}: {RANGES[key]} is wanted here, not {value!r}.")
    if (epochs is None and budget_s is None) or not trained_by_steps(config):
        return config
    if epochs is not None:
        config = replace(config, data=replace(config.data, epochs=epochs))
    if budget_s is not None:
        config = replace(config, schedule=replace(config.schedule, budget_s=budget_s))
    return config
