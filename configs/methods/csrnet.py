"""CSRNet trained by AdamW in minutes; csrnet_published has the authors' recipe.

Differs: VGG's first two stages keep ImageNet's filters; the squared error is a mean and the error
of the count is added; crops are small, flipped, rotated and jittered; AdamW with a cosine, clipped
gradients and averaged weights instead of SGD at one rate.
"""

_base_ = "../recipes/wide_crops.py"

method = dict(
    name="CSRNet",
    title="CSRNet, VGG-16 and dilated convolutions",
    source="CSRNet, arXiv:1802.10062",
)

# 2: counts are corrected on the validation images (docs/protocols.md).
recipe = 2

model = dict(
    type="CSRNet",
    backbone=dict(type="VGG16", batch_norm=False, strides=[8], frozen_stages=2),
    decoder=dict(type="DilatedBackEnd", gain=0.02),
    target=dict(type="GaussianDensity", sigma=4.0, adaptive=0.3),
    loss=dict(type="DensityMSE", count_weight=0.02),
    output=dict(scale=5.0),
)

optimizer = dict(type="AdamW", lr=1e-3, trunk_lr=2e-4, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.08, ema=0.97)
