"""Claims about the size of a file of weights."""

import pytest
import torch

from cellbench.errors import UserError
from cellbench.models import kept_weights


@pytest.mark.parametrize("size", [0, 199, 10**6])
def test_a_file_of_a_size_that_the_tensors_cannot_have_is_refused_unread(
    tmp_path, monkeypatch, size
):
    file = tmp_path / "best.safetensors"
    file.write_bytes(bytes(size))
    monkeypatch.setattr(kept_weights, "read_file", lambda *_, **__: pytest.fail("it is read"))
    with pytest.raises(UserError, match=f"it has {size} bytes, and their 1 tensors take 400"):
        kept_weights.read_kept({"weight": torch.zeros(100)}, file, sha256=None)
