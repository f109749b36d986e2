"""Matchers, convolutions and targets of cellbench keep the claims of `cellbench.testing`.

What they owe a counter is checked over all its combinations, in test_counters.py and
test_cuda_types.py.
"""

import pytest
from counter_cases import built_in

from cellbench.registry import REGISTRIES
from cellbench.testing.density_targets import TARGET_CLAIMS
from cellbench.testing.network_parts import (
    CONV_CLAIMS,
    LOSS_CLAIMS,
    MATCHER_CLAIMS,
    PartSubject,
)

# Targets that answer on a larger grid than the image: px beyond it on each side.
TARGET_MARGINS = {"RedundantCount": 16}  # its windows of 32 px reach so far beyond the image

CLAIMS = {
    "matcher": MATCHER_CLAIMS,
    "conv": CONV_CLAIMS,
    "loss": LOSS_CLAIMS,
}

CASES = [
    pytest.param(role, name, claim, id=f"{name}-{claim.__name__}")
    for role, claims in CLAIMS.items()
    for name in built_in(REGISTRIES[role])
    for claim in claims
]


@pytest.mark.parametrize(("role", "name", "claim"), CASES)
def test_a_part_keeps_its_contract(role, name, claim):
    claim(PartSubject(role, {"type": name}))


@pytest.mark.parametrize("claim", TARGET_CLAIMS, ids=lambda claim: claim.__name__)
@pytest.mark.parametrize("name", built_in(REGISTRIES["target"]))
def test_a_target_keeps_its_contract(name, claim):
    claim(PartSubject("target", {"type": name}), margin_px=TARGET_MARGINS.get(name, 0))
