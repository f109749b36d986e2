"""`cellbench.recommend`: choose a method for a set of a user's own annotated pictures."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellbench.recommending.recommendation import Recommendation


def recommend(
    name: str,
    *,
    budget: float = 1800.0,
    device: str = "auto",
    store: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> "Recommendation":
    """Find the method that counts your annotated pictures best for its cost, and train it.

    The methods that fit the time are cross-validated, whole groups at a time: baselines first, with
    the kept models that have not learned from these pictures, whose counts are corrected and
    nothing else; then light networks, then heavy ones where a GPU is. What is clearly worse is
    given up on the way. Recommended is the cheapest method whose error exceeds that of the best one
    by at most one standard error of their difference; it is trained on all annotated pictures, and
    `cellbench count --with` takes its run.

    Args:
        name: name of a set on disk, see `cellbench data import --own`.
        budget: time for everything, such as 30m; in Python a number of seconds.
        device: one of auto, cpu, cuda or cuda:N.
        store: folder of runs/.
        say: function that takes progress messages, one sentence each.

    Returns:
        Errors of the methods with intervals, the run, and how many more annotated pictures would
        halve the interval.

    Raises:
        UserError: there is no such set, or it is too small.
        RunError: no method could be trained.
    """
    from cellbench.annotations import fits
    from cellbench.config.schema import Seconds
    from cellbench.data.splits import FOLDS, make_split
    from cellbench.data.stored_set import open_set
    from cellbench.errors import UserError

    if not fits(budget, Seconds):
        raise UserError(
            f"budget is a number of seconds above 0, up to a year, such as 1800; not {budget!r}."
        )
    # An unknown set, or one of too few groups, is reported before torch is loaded.
    make_split(open_set(name), protocol=FOLDS)
    from cellbench.recommending.recommendation import recommend_method

    return recommend_method(name, budget_s=budget, device=device, store=store, say=say)
