"""DCL, an approximation: all that the docstring of `DCL` lists as not verified is a guess here."""

_base_ = "../recipes/wide_crops.py"

method = dict(
    name="DCL",
    title="DCL (approximation)",
    source="Decoupling Counting and Localization, arXiv:2503.13989",
)

# 2: counts are corrected on the validation images (docs/protocols.md).
recipe = 2

model = dict(
    type="DCL",
    backbone=dict(type="VGG16", batch_norm=False, strides=[8], frozen_stages=2),
    decoder=dict(type="GlobalMessages", gain=0.02, conv=dict(type="Standard")),
    target=dict(type="GaussianDensity", sigma=4.0),
    loss=dict(type="DensityMSE", count_weight=0.02),
    output=dict(scale=5.0),
    fine_target=dict(type="GaussianDensity", sigma=2.0),
)

optimizer = dict(type="AdamW", lr=5e-4, trunk_lr=1e-4, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.08, ema=0.97)

# wider cells, wider Gaussians
per_dataset = dict(
    mbm=dict(model=dict(fine_target=dict(sigma=6.0), peak_px=6.0)),
    dcc=dict(model=dict(fine_target=dict(sigma=4.0), peak_px=4.0)),
)
