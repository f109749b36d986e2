"""Help of a command from the docstring of the function behind it, so that the two cannot differ."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import click

_SECTION = re.compile(r"^([A-Z][a-z]+):\n(?= {4})", flags=re.MULTILINE)


class Documented(click.Command):
    """A command with the summary of a function as its help, and its arguments' as its options'.

    The docstring is read when help is asked for, and not whenever the command runs.
    """

    def __init__(
        self, *, function: Callable[..., Any], own_text: bool = False, **options: Any
    ) -> None:
        """Make the command.

        Args:
            function: with a Google docstring. An option has the name of the argument that it sets;
                one that is the command line's own keeps the help that it states.
            own_text: keep the help that the command states; its options' alone is the function's.
            options: of `click.Command`.
        """
        super().__init__(**options)
        self.function, self.own_text = function, own_text

    def document(self) -> None:
        """Take the help from the docstring."""
        text, arguments = parsed_docstring(self.function)
        if not self.own_text:
            self.help = text
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.help is None:
                parameter.help = arguments[str(parameter.name)]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help."""
        self.document()
        super().format_help(ctx, formatter)

    def get_short_help_str(self, limit: int = 45) -> str:
        """The help in the list of a group's commands."""
        self.document()
        return super().get_short_help_str(limit)


class DocumentedGroup(Documented, click.Group):
    """A group that is `Documented`."""


def parsed_docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The text of a Google docstring before its sections, and that of every argument."""
    # Text, then a name and a body for each section.
    text, *parts = _SECTION.split(inspect.cleandoc(function.__doc__ or ""))
    listed = dict(zip(parts[::2], parts[1::2], strict=True)).get("Args", "")
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", listed, flags=re.MULTILINE)
    helps = {name: " ".join(words.split()) for name, words in found}
    return text.strip(), {name: words[0].upper() + words[1:] for name, words in helps.items()}
