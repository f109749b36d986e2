"""DM-Count on VGG-16, trained by AdamW in minutes; dmcount_published has the authors' recipe.

Differs: VGG's first two stages keep ImageNet's filters; the map is a softplus, because a ReLU whose
output is 0 has no mass to transport; the transport has a smaller weight, because in crops with few
cells its gradient, squared px over the count, is many times that of the count; AdamW with a cosine,
clipped gradients and averaged weights instead of Adam; crops are rotated and jittered too.
"""

_base_ = "../recipes/wide_crops.py"

method = dict(
    name="DMCount",
    title="DM-Count, VGG-16",
    source="Distribution Matching for Crowd Counting, arXiv:2009.13077",
)

# 2: counts are corrected on the validation images (docs/protocols.md).
recipe = 2

model = dict(
    type="DMCount",
    backbone=dict(type="VGG16", batch_norm=False, strides=[16], frozen_stages=2),
    decoder=dict(type="UpsampledConvs", gain=0.3),
    # a cell counts entirely in the map cell that contains it: no Gaussian
    target=dict(type="GaussianDensity", sigma=0.01),
    loss=dict(type="DMCountLoss", transport_weight=0.05),
    output=dict(activation="softplus", scale=5.0),
)

optimizer = dict(type="AdamW", lr=3e-4, trunk_lr=1e-4, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.08, ema=0.97)
