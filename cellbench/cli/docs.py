"""Help of a command from the docstring of the function behind it, so that the two cannot differ."""

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=click.Command)


def documented_by(function: Callable[..., Any]) -> Callable[[_Command], _Command]:
    """Give a command the summary of a function as its help, and its arguments' as its options'.

    Args:
        function: with a Google docstring. An option has the name of the argument that it sets; one
            that is the command line's own keeps the help that it states.
    """
    text, _ = parsed_docstring(function)

    def document(command: _Command) -> _Command:
        command.help = text
        return options_documented_by(function)(command)

    return document


def options_documented_by(function: Callable[..., Any]) -> Callable[[_Command], _Command]:
    """Give the options of a command that state no help that of the arguments of a function."""
    _, arguments = parsed_docstring(function)

    def document(command: _Command) -> _Command:
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.help is None:
                parameter.help = arguments[str(parameter.name)]
        return command

    return document


def parsed_docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The text of a Google docstring before its sections, and that of every argument."""
    text, _, sections = inspect.cleandoc(function.__doc__ or "").partition("\nArgs:\n")
    listed = re.split(r"\n(?=\S)", sections)[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", listed, flags=re.MULTILINE)
    helps = {name: " ".join(words.split()) for name, words in found}
    return text.strip(), {name: words[0].upper() + words[1:] for name, words in helps.items()}
