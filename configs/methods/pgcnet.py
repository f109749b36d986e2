"""PGC-Net: a U-Net whose skip gradients are scaled by 0.4, 0.8 and 0.4.

Differs: trained as fcrn, with the published code's decay, which AdamW decouples from the gradient;
the published crops are of 128 px on ADI, 512 px on MBM and 224 px on VGG and DCC, rotated by any
angle.
"""

_base_ = "fcrn.py"

method = dict(
    name="PGCNet",
    title="PGC-Net, gradients of the skips held back",
    source="PGC-Net, IEEE Access 2024",
)

model = dict(
    type="PGCNet",
    backbone=dict(_delete_=True, type="PGCNetEncoder"),
    decoder=dict(_delete_=True, type="PGCNetDecoder"),
)

optimizer = dict(weight_decay=1e-3)
