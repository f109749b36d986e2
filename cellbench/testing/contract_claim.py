"""What a contract test is: a function that raises where a part does not keep its contract."""

from collections.abc import Callable
from typing import Any, TypeAlias
from unittest import SkipTest

Claim: TypeAlias = Callable[[Any], None]
"""Takes what is tested; its name, with spaces, is the sentence that it checks."""


class ContractError(AssertionError):
    """A part breaks its contract; the message names the clause."""


class CannotCheckError(SkipTest):
    """This machine cannot try a claim; the message says why. pytest takes it for a skip."""


def require(kept: bool, problem: str) -> None:
    """Raise where a condition does not hold.

    Raises:
        ContractError: with `problem`.
    """
    if not kept:
        raise ContractError(problem)


def sentence(claim: Claim) -> str:
    """The claim of a contract test in words."""
    return claim.__name__.replace("_", " ")
