"""FCRN-B, as in public reimplementations: fewer pools and larger kernels than FCRN-A.

Differs: as fcrn; the authors' code has no FCRN-B, so its own recipe is not known.
"""

_base_ = "fcrn.py"

method = dict(name="FCRN-B", title="FCRN-B, as reimplementations agree on it")

model = dict(
    backbone=dict(_delete_=True, type="FCRNB"),
    decoder=dict(_delete_=True, type="FCRNBMap"),
)

# A step takes seven times as long as one of FCRN-A: smaller batches allow enough steps in minutes.
per_dataset = dict(
    mbm=dict(data=dict(batch_size=4)),
    vgg=dict(data=dict(batch_size=2)),
)
