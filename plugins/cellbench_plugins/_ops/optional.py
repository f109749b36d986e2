"""Import of optional packages at their first use."""

from importlib import import_module
from types import ModuleType

from cellbench.errors import UserError


def import_optional(module: str, *, package: str, by: str) -> ModuleType:
    """Import a module, or raise an error that names the package to install.

    Args:
        module: dotted name.
        package: name of its distribution for pip.
        by: name of the part that needs it.

    Raises:
        UserError: the module is not installed, or does not import.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"{by} needs {package}, which does not import ({error}); "
            f"install it with: pip install {package}"
        ) from None
