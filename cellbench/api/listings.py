"""`cellbench.leaderboard`, `datasets` and `plugins`: tables of records, sets and parts."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from cellbench.plugin_index import Entry


def leaderboard(
    dataset: str | None = None,
    *,
    protocol: str | None = None,
    everything: bool = False,
    published: bool = False,
    stores: Sequence[str] = (),
) -> "pd.DataFrame":
    """Show and write the tables of a data set.

    In Python nothing is written: the rows are returned, ranked within a set and protocol.

    Args:
        dataset: one set; all that have records by default.
        protocol: one protocol; all ranked ones by default.
        everything: also what is not ranked, and why.
        published: also numbers from papers, unranked and greyed.
        stores: folder of leaderboards/; the working one by default. Given again, its records are
            read too; tables are written to the first.

    Returns:
        One row per experiment, with the fields of `cellbench.ranking.rows.Row`; the problems of
        unusable record files are in its `attrs["problems"]`.

    Raises:
        UserError: there is no such folder, set or protocol.
    """
    from dataclasses import fields

    import pandas as pd

    from cellbench.ranking.leaderboards import find_leaderboard
    from cellbench.ranking.rows import Row

    found = find_leaderboard(dataset, protocol, everything, published, stores)
    table = pd.DataFrame(map(asdict, found.rows), columns=[field.name for field in fields(Row)])
    table.attrs["problems"] = found.problems
    return table


def datasets() -> "pd.DataFrame":
    """List the data sets, whether they are on disk, and what to do if not.

    Returns:
        One row per set and simulator, see `cellbench.data.listing.SetRow`.
    """
    import pandas as pd

    from cellbench.data.listing import list_sets

    return pd.DataFrame(map(asdict, list_sets()))


def plugins(role: str | None = None) -> "pd.DataFrame":
    """List every registered part: role, name, what it is, its paper, where it comes from.

    Nothing is imported for it: the sources of the plugins are read.

    Args:
        role: only this role, such as matcher.

    Returns:
        One row per part.

    Raises:
        UserError: there is no such role.
    """
    import pandas as pd

    return pd.DataFrame(map(described, find_parts(role)))


def find_parts(role: str | None) -> "list[Entry]":
    """Return the registered parts of a role, or all.

    Raises:
        UserError: there is no such role.
    """
    from difflib import get_close_matches

    from cellbench import plugin_index
    from cellbench.errors import UserError

    roles = list(plugin_index.ROLES.values())
    if role is not None and role not in roles:
        near = get_close_matches(role, roles, n=1) or roles
        raise UserError(f"There is no role {role!r}; did you mean {', '.join(near)}?")
    return [entry for entry in plugin_index.entries() if role in (None, entry.role)]


def described(entry: "Entry") -> dict[str, str | int]:
    """Return the description of a part as plain values."""
    names = ("role", "name", "summary", "source", "distribution", "version")
    texts: dict[str, str | int] = {name: getattr(entry, name) for name in names}
    return {**texts, "file": str(entry.file), "line": entry.line}
