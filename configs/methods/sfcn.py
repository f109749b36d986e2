"""SFCN on VGG-16, trained by AdamW in minutes; sfcn_published has the recipe of the released code.

Differs: VGG's first two stages keep ImageNet's filters; the error of the count is added; a linear
output instead of a ReLU; crops are small, flipped, rotated and jittered; AdamW with a cosine,
clipped gradients and averaged weights instead of Adam.
"""

_base_ = "../recipes/wide_crops.py"

method = dict(
    name="SFCN",
    title="SFCN, VGG-16 form",
    source="Learning from Synthetic Data for Crowd Counting in the Wild, arXiv:1903.03303",
)

# 2: counts are corrected on the validation images (docs/protocols.md).
recipe = 2

model = dict(
    type="SFCN",
    backbone=dict(type="VGG16", batch_norm=False, strides=[8], frozen_stages=2),
    decoder=dict(type="SpatialEncoder", gain=0.02),
    target=dict(type="GaussianDensity", sigma=4.0),
    loss=dict(type="DensityMSE", count_weight=0.02),
    output=dict(scale=5.0),
)

optimizer = dict(type="AdamW", lr=1e-3, trunk_lr=2e-4, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.08, ema=0.97)
