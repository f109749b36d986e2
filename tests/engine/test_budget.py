"""The length of a run: budgets that are met or refused, and methods without steps."""

import pytest

from cellbench.engine.request import Display, Request
from cellbench.engine.run import run


def test_a_method_without_steps_is_one_run_whatever_its_length(bench):
    begun, said = [], []
    display = Display(start=lambda *told: begun.append(told), say=said.append)
    asked = {"dataset": "adi-sim", "protocol": "smoke"}
    first = run(Request("configs/methods/meancount.py", **asked), display)
    assert begun == []
    assert "MeanCount is not trained by steps." in said
    assert first.record["config"]["schedule"]["budget_s"] is None
    for length in ({"epochs": 3}, {"budget_s": 60.0}):
        again = run(Request("configs/methods/meancount.py", **asked, **length))
        assert not again.fresh
        assert again.record == first.record


@pytest.mark.parametrize(("step", "shown"), [(0, "-"), (40, "1352")])
def test_the_row_of_a_method_without_steps_shows_none(step, shown):
    from record_samples import sample_record

    from cellbench.cli.progress import row_table

    record = sample_record()
    record["iterations"] = 1352
    record["selection"]["step"] = step
    table = row_table(record)
    [column] = [c for c in table.columns if c.header == "steps"]
    assert list(column.cells) == [shown]
