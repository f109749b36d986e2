"""Length of a run from the command line: epochs, or a wall-clock budget."""

import math
from dataclasses import replace

from cellbench import plugin_index
from cellbench.annotations import describe, fits
from cellbench.config.schema import Count, ResolvedConfig, Seconds
from cellbench.errors import UserError
from cellbench.plugin_classes import class_constant

# Largest share of a budget that is spent measuring.
MEASURING = 0.1


def trained_by_steps(config: ResolvedConfig) -> bool:
    """Check whether the method of a config is trained by gradient steps; imports no plugin."""
    entries = plugin_index.find("counter", str(config.model.get("type")))
    return len(entries) != 1 or class_constant(entries[0], "trained_by_steps", True) is not False


def with_length(
    config: ResolvedConfig, *, epochs: int | None = None, budget_s: float | None = None
) -> ResolvedConfig:
    """Return the config with the length from the command line.

    A method that is not trained by steps has the same result at any length, so it keeps its
    config, and with it its run id.

    Args:
        config: resolved.
        epochs: passes over the training images; None for the config's.
        budget_s: wall-clock seconds to fit the steps to; None for no budget.

    Raises:
        UserError: a number is out of range.
    """
    for option, kind, value in (("--epochs", Count, epochs), ("--budget", Seconds, budget_s)):
        if value is not None and not fits(value, kind):
            raise UserError(f"{option}: {describe(kind)} is wanted here, not {value!r}.")
    if (epochs is None and budget_s is None) or not trained_by_steps(config):
        return config
    if epochs is not None and epochs != config.data.epochs:
        whole = config.whole_epochs or config.data.epochs
        config = replace(config, data=replace(config.data, epochs=epochs), whole_epochs=whole)
    if budget_s is not None:
        config = replace(config, schedule=replace(config.schedule, budget_s=budget_s))
    return config


def budget_text(seconds: float) -> str:
    """Format a duration as `--budget` takes it."""
    for unit, name in ((3600, "h"), (60, "m")):
        if seconds >= unit and seconds * 10 % unit == 0:
            return f"{seconds / unit:g}{name}"
    return f"{seconds:g}s"


def rounded_budget(seconds: float) -> float:
    """Round a budget up to ten seconds, minutes or half hours, depending on its length.

    A tenth is added first, since a measurement of a few steps is not exact.
    """
    seconds *= 1.1
    unit = 10 if seconds <= 120 else 60 if seconds <= 3600 else 1800
    return float(unit * math.ceil(seconds / unit))
