"""Claims of a contract: functions that raise if a part breaks it, and their errors."""

from collections.abc import Callable
from typing import Any, TypeAlias
from unittest import SkipTest

Claim: TypeAlias = Callable[[Any], None]
"""Takes the subject under test; its name, with spaces, is the sentence that it checks."""


class ContractError(AssertionError):
    """Error of a part that breaks its contract; the message names the clause."""


class CannotCheckError(SkipTest):
    """Error of a claim that this machine cannot check; the message gives the reason.

    pytest reports it as a skip.
    """


def require(kept: bool, problem: str) -> None:
    """Raise if a condition does not hold.

    Raises:
        ContractError: with `problem`.
    """
    if not kept:
        raise ContractError(problem)


def sentence(claim: Claim) -> str:
    """Return the claim of a contract test in words."""
    return claim.__name__.replace("_", " ")
