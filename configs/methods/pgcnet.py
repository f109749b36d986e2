"""PGC-Net: a U-Net that holds back the gradients of its skips (0.4, 0.8, 0.4)."""

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
