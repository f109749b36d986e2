"""SAU-Net: a U-Net of 32 to 256 channels with self-attention at its coarsest map."""

method = dict(
    name="SAUNet",
    title="SAU-Net, U-Net with self-attention",
    source="SAU-Net: A Universal Deep Network for Cell Counting, ACM BCB 2019",
)

model = dict(
    type="SAUNet",
    backbone=dict(type="SAUNetEncoder"),
    decoder=dict(type="SAUNetDecoder"),
    target=dict(type="GaussianDensity", sigma=2.0),
    loss=dict(type="DensityMSE"),
    output=dict(scale=100.0),
)

optimizer = dict(type="AdamW", lr=2e-3, weight_decay=1e-3, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.05, ema=0.98)
