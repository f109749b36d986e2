"""SASNet trained by AdamW in minutes.

Differs: no training code was released, so loss and optimiser are guesses: squared error and an
approximation of its region loss, Adam's rate raised from 1e-5, with which it learns little in
minutes, clipped gradients and averaged weights; VGG's first two stages keep ImageNet's filters;
Gaussians are wider than the released 4 px on MBM and DCC.
"""

method = dict(
    name="SASNet",
    title="SASNet, scale selection",
    source="To Choose or to Fuse? Scale Selection for Crowd Counting, AAAI 2021",
)

# 2: counts are corrected on the validation images (docs/protocols.md).
recipe = 2

model = dict(
    type="SASNet",
    backbone=dict(type="VGG16", batch_norm=True, strides=[1, 2, 4, 8, 16], frozen_stages=2),
    decoder=dict(type="ScaleSelection", level=2.0),
    target=dict(type="GaussianDensity", sigma=4.0),
    loss=dict(type="PyramidRegionLoss"),
    output=dict(scale=1000.0),
)

optimizer = dict(type="AdamW", lr=5e-4, trunk_lr=1e-4, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.08, ema=0.97)

# After a short training on VGG with crops of 64 px it counted 128, 118 and 100 cells in three whole
# validation images, and 185, 155 and 135 in their tiles of 64 px (true: 164, 126, 102): in such a
# crop, its coarse levels are affected by the border everywhere. Hence fewer crops per batch, but as
# wide as those of the other sets.
per_dataset = dict(
    adi=dict(data=dict(batch_size=2)),
    # wider cells, wider Gaussians
    mbm=dict(data=dict(batch_size=2), model=dict(target=dict(sigma=8.0), peak_px=6.0)),
    vgg=dict(
        data=dict(
            batch_size=2,
            augment=[
                dict(type="RandomCrop", size=96),
                dict(type="RandomFlip"),
                dict(type="QuarterTurn"),
            ],
        )
    ),
    dcc=dict(data=dict(batch_size=2), model=dict(target=dict(sigma=6.0), peak_px=4.0)),
)
