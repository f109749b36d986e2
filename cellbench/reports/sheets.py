"""Text tables and their export to Markdown, CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from cellbench.ranking.tables import csv_cell, markdown, plain

# Special characters of LaTeX and their escapes.
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    # At the start of a line LaTeX would read these as an argument of the line break before it.
    "[": "{[}",
    "*": "{*}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "µ": r"$\mu$",
    "μ": r"$\mu$",
    "²": r"$^2$",
    "→": r"$\rightarrow$",
}
_NEGATIVE = re.compile(r"^-(?=[0-9.]+(e[-+]?[0-9]+)?$)")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of texts.

    Attributes:
        heads: per column its group ("" for none) and its name.
        rows: one text per column.
        left: number of columns from the left that are text.
    """

    heads: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1

    def markdown(self) -> list[str]:
        """Return the lines of a Markdown table."""
        heads = [markdown(_joined(head)) for head in self.heads]
        rule = [":--" if index < self.left else "--:" for index in range(len(heads))]
        body = [[markdown(text) for text in row] for row in self.rows]
        return [f"| {' | '.join(line)} |" for line in (heads, rule, *body)]

    def csv(self) -> str:
        """Return a CSV with a header; a dash becomes an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_joined(head) for head in self.heads)
        for row in self.rows:
            writer.writerow("" if cell == "–" else _csv_text(cell) for cell in row)
        return text.getvalue()

    def latex(self, *, caption: str) -> str:
        """Return a `table` environment that needs the booktabs package.

        Args:
            caption: caption below the table, as plain text.
        """
        columns = "l" * self.left + "r" * (len(self.heads) - self.left)
        lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        if any(group for group, _ in self.heads):
            lines += list(_group_line(self.heads))
        lines += [_latex_line(name for _, name in self.heads), r"\midrule"]
        lines += [_latex_line(row) for row in self.rows]
        lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{latex(caption)}}}"]
        return "\n".join([*lines, r"\end{table}", ""])


def latex(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_LATEX.get(c, c) for c in plain(text))


def _joined(head: tuple[str, str]) -> str:
    return " ".join(filter(None, head))


def _csv_text(text: str) -> str:
    """Escape formulas; numbers are unchanged, since a sign before one starts no formula."""
    try:
        float(text)
    except ValueError:
        return str(csv_cell(text))
    return text


def _latex_line(texts: Iterator[str] | Sequence[str]) -> str:
    # LaTeX would print a hyphen for the minus sign.
    return " & ".join(latex(_NEGATIVE.sub("−", text)) for text in texts) + r" \\"


def _group_line(heads: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the line of groups above their columns, and the line of rules below them."""
    cells: list[str] = []
    rules: list[str] = []
    start = 1
    for group, members in groupby(heads, key=lambda head: head[0]):
        width = len(list(members))
        if group:
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{latex(group)}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        else:
            cells += [""] * width
        start += width
    yield " & ".join(cells) + r" \\"
    yield " ".join(rules)
