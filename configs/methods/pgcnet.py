"""PGC-Net: a U-Net that holds back the gradients of its skips (0.4, 0.8, 0.4)."""

method = dict(
    name="PGCNet",
    title="PGC-Net, gradients of the skips held back",
    source="PGC-Net, IEEE Access 2024",
)

model = dict(
    type="PGCNet",
    backbone=dict(type="PGCNetEncoder"),
    decoder=dict(type="PGCNetDecoder"),
    target=dict(type="GaussianDensity", sigma=2.0),
    loss=dict(type="DensityMSE"),
    output=dict(scale=100.0),
)

optimizer = dict(type="AdamW", lr=2e-3, weight_decay=1e-3, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.05, ema=0.98)

# Crops of VGG twice as wide, since what a network sees at the border of a crop is not what it sees
# inside an image: after 60 steps of FCRN crops of 64 px counted 10 % too few on six validation
# images, crops of 128 px, with a shorter average of the weights, 5 %. Nuclei of MBM are some 25 px
# wide and cells of DCC vary: wider Gaussians, fewer places for a point.
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
