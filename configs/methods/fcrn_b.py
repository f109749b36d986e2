"""FCRN-B: fewer pools and larger kernels than A, as public reimplementations build it."""

_base_ = "fcrn.py"

method = dict(name="FCRN-B", title="FCRN-B, as reimplementations agree on it")

model = dict(
    backbone=dict(_delete_=True, type="FCRNB"),
    decoder=dict(_delete_=True, type="FCRNBMap"),
)
