"""FCRN-B: fewer pools and larger kernels than A, as public reimplementations build it.

Differs: as fcrn; the authors' code has no FCRN-B, so its own recipe is not known.
"""

_base_ = "fcrn.py"

method = dict(name="FCRN-B", title="FCRN-B, as reimplementations agree on it")

model = dict(
    backbone=dict(_delete_=True, type="FCRNB"),
    decoder=dict(_delete_=True, type="FCRNBMap"),
)

# A step costs seven times one of A: smaller batches, or a few minutes hold too few of them.
per_dataset = dict(
    mbm=dict(data=dict(batch_size=4)),
    vgg=dict(data=dict(batch_size=2)),
)
