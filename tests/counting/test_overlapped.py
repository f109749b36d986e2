"""Claims about reading ahead and writing behind."""

import threading

import pytest

from cellbench.counting.overlapped import WriteBehind, read_ahead
from cellbench.errors import UserError


def test_the_next_is_read_while_one_is_used_and_the_order_stays():
    begun = {name: threading.Event() for name in "abc"}

    def read(name):
        begun[name].set()
        return name.upper()

    found = []
    for name, result in read_ahead(read, "abc"):
        following = {"a": "b", "b": "c"}.get(name)
        assert following is None or begun[following].wait(5)
        found.append(result())
    assert found == ["A", "B", "C"]
    assert list(read_ahead(read, "")) == []


def test_what_cannot_be_read_stops_no_other():
    def read(name):
        if name == "b":
            raise UserError("b is damaged.")
        return name

    found = []
    for _, result in read_ahead(read, "abc"):
        try:
            found.append(result())
        except UserError as error:
            found.append(str(error))
    assert found == ["a", "b is damaged.", "c"]


def all_written(tasks, after=None):
    """Give tasks to a thread that writes behind, then fail with an error of one's own."""
    with WriteBehind() as write:
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
