"""SAU-Net: a U-Net of 32 to 256 channels with self-attention on its coarsest map.

Differs: trained as fcrn; see `SAUNet`.
"""

_base_ = "fcrn.py"

method = dict(
    name="SAUNet",
    title="SAU-Net, U-Net with self-attention",
    source="SAU-Net: A Universal Deep Network for Cell Counting, ACM BCB 2019",
)

model = dict(
    type="SAUNet",
    backbone=dict(_delete_=True, type="SAUNetEncoder"),
    decoder=dict(_delete_=True, type="SAUNetDecoder"),
)

optimizer = dict(weight_decay=1e-3)
