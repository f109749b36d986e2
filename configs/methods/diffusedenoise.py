"""DiffuseDenoise (CrowdDiff): dot maps at stride 2, three samples of four denoising steps, fused.

Differs: AdamW at 1e-3 (trunk 2e-4) on one cosine, with decay 1e-4 and an average of 0.99, instead
of a constant 1e-4 without decay and 0.9999; crops and batch are those of the data set's file, not
eight of 256 px. For the network and the sampling see the class.
"""

method = dict(
    name="DiffuseDenoise",
    title="DiffuseDenoise (CrowdDiff)",
    source="CrowdDiff: Multi-hypothesis Crowd Density Estimation using Diffusion Models, "
    "arXiv:2303.12790",
)

model = dict(
    type="DiffuseDenoise",
    backbone=dict(type="VGG16", batch_norm=True, strides=[2, 4, 8], frozen_stages=3),
    decoder=dict(type="FPN", stride=2, channels=64, conv=dict(type="Standard")),
)

optimizer = dict(type="AdamW", lr=1e-3, trunk_lr=2e-4, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.05, ema=0.99, validations=3, first_validation=0.6)
