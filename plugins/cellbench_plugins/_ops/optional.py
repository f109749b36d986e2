"""Packages that only some parts need, imported when they are first used."""

from importlib import import_module
from types import ModuleType

from cellbench.errors import UserError


def need(module: str, *, package: str, by: str) -> ModuleType:
    """Import a module, or say what to install.

    Args:
        module: dotted name.
        package: what pip calls its distribution.
        by: the part that needs it.

    Raises:
        UserError: it is not installed, or does not import.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"{by} needs {package}, which does not import ({error}); "
            f"install it with: pip install {package}"
        ) from None
