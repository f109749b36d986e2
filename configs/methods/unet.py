"""U-Net with 64 channels at every level, regressing a density map; trained like FCRN.

Differs: as fcrn.
"""

_base_ = "fcrn.py"

method = dict(
    name="UNet",
    title="U-Net density regression",
    source="U-Net, arXiv:1505.04597, as W. Xie's cell_counting_v2 regresses densities with it",
)

model = dict(
    type="UNet",
    backbone=dict(_delete_=True, type="UNetEncoder"),
    decoder=dict(_delete_=True, type="UNetDecoder"),
)
