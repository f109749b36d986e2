"""Claims about methods whose shapes cannot be had without memory."""

import pytest
import torch

from cellbench.errors import UserError
from cellbench.models import kept_weights


@pytest.mark.parametrize(
    ("reason", "calls"), [("no data on meta device", 2), ("a wrong option", 1)]
)
def test_a_method_is_made_with_memory_only_where_it_reads_values(monkeypatch, reason, calls):
    made = []

    def build(model, load_weights):
        made.append(model)
        if torch.empty(()).is_meta:
            raise RuntimeError(reason)
        return torch.nn.Linear(2, 3)

    monkeypatch.setattr(kept_weights, "build_counter", build)
    if calls == 2:
        assert kept_weights.state_of({"type": "Reads"})["weight"].shape == (3, 2)
    else:
        with pytest.raises(UserError, match=r"'Reads' cannot be made .*a wrong option"):
            kept_weights.state_of({"type": "Reads"})
    assert len(made) == calls
