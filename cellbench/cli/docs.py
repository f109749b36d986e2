"""Command help taken from the docstring of the API function, so that the two cannot differ."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import click

_SECTION = re.compile(r"^([A-Z][a-z]+):\n(?= {4})", flags=re.MULTILINE)


class Documented(click.Command):
    """Command whose help, and that of its options, is taken from a function's docstring.

    The docstring is parsed only when help is requested.
    """

    def __init__(
        self, *, function: Callable[..., Any], own_text: bool = False, **options: Any
    ) -> None:
        """Create the command.

        Args:
            function: function with a Google docstring. An option without help gets that of the
                argument with its name.
            own_text: keep the command's own help, and take only that of the options.
            options: arguments of `click.Command`.
        """
        super().__init__(**options)
        self.function, self.own_text = function, own_text

    def document(self) -> None:
        """Set the help from the docstring."""
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
        """Return the help for the list of a group's commands."""
        self.document()
        return super().get_short_help_str(limit)


class DocumentedGroup(Documented, click.Group):
    """Command group whose help is taken from a function's docstring."""


def parsed_docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Return the text of a Google docstring before its sections, and that of each argument."""
    # The split gives the text, then name and body of each section in turn.
    text, *parts = _SECTION.split(inspect.cleandoc(function.__doc__ or ""))
    listed = dict(zip(parts[::2], parts[1::2], strict=True)).get("Args", "")
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", listed, flags=re.MULTILINE)
    helps = {name: " ".join(words.split()) for name, words in found}
    return text.strip(), {name: words[0].upper() + words[1:] for name, words in helps.items()}
