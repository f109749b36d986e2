"""OrdinalEntropy: network and recipe of CSRNet, plus the ordinal entropy regulariser.

Differs: as csrnet; the regulariser uses every cell of the map, not every fourth. Its weight in the
paper's counting experiment is not known.
"""

_base_ = ["csrnet.py"]

method = dict(
    name="OrdinalEntropy",
    title="OrdinalEntropy on CSRNet",
    source="Improving Deep Regression with Ordinal Entropy, arXiv:2301.08915",
)

model = dict(
    type="OrdinalEntropy",
    loss=dict(_delete_=True, type="OrdinalEntropyLoss", weight=0.01, count_weight=0.02),
)
