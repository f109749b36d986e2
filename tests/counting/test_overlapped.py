"""Claims about writing behind."""

import pytest

from cellbench.counting.overlapped import write_behind
from cellbench.errors import UserError


def all_written(tasks, after=None):
    """Give tasks to a thread that writes behind, then fail with an error of one's own."""
    with write_behind() as write:
        for task in tasks:
            write(*task)
        if after is not None:
            raise after


def fail():
    raise UserError("The disk is full.")


def test_everything_given_is_written_in_order_also_where_something_else_fails():
    written = []
    all_written([(written.append, number) for number in range(9)])
    assert written == list(range(9))
    with pytest.raises(KeyboardInterrupt):
        all_written([(written.append, 9)], after=KeyboardInterrupt())
    assert written[-1] == 9


def test_a_full_disk_is_told_and_stops_what_comes_after_it():
    written = []
    with pytest.raises(UserError, match="disk is full"):
        all_written([(written.append, 1), (fail,)])
    assert written == [1]
    with pytest.raises(UserError, match="disk is full"):
        all_written([(fail,), *((written.append, number) for number in range(2, 11))])
    assert len(written) <= 4  # what was waiting already may come through
