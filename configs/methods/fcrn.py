"""FCRN-A: fully convolutional regression network without skips.

Differs: Gaussians of 2 px and more (the authors' code: 1 px); AdamW with a cosine, clipped
gradients and averaged weights. fcrn_published is nearer to the authors' code.
"""

method = dict(
    name="FCRN",
    title="FCRN-A",
    source="Microscopy cell counting and detection with fully convolutional regression networks",
)

# 2: counts are corrected on the validation images (docs/protocols.md).
recipe = 2

model = dict(
    type="FCRN",
    backbone=dict(type="FCRNA"),
    decoder=dict(type="Identity"),
    target=dict(type="GaussianDensity", sigma=2.0),
    loss=dict(type="DensityMSE"),
    output=dict(scale=100.0),
)

optimizer = dict(type="AdamW", lr=2e-3, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.05, ema=0.98)

# Crops of VGG are twice as wide, because the border of a crop differs from the inside of an image:
# after 60 steps FCRN trained on crops of 64 px counted 10 % too few on six validation images, and
# on crops of 128 px, with a shorter average of the weights, 5 %. Nuclei of MBM are some 25 px wide
# and cells of DCC vary: they have wider Gaussians and wider windows of a peak.
per_dataset = dict(
    vgg=dict(
        data=dict(
            batch_size=4,
            augment=[
                dict(type="RandomCrop", size=128),
                dict(type="RandomFlip"),
                dict(type="QuarterTurn"),
            ],
        ),
    ),
    mbm=dict(model=dict(target=dict(sigma=5.0), peak_px=6.0)),
    dcc=dict(model=dict(target=dict(sigma=4.0), peak_px=4.0)),
)
