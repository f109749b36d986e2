"""MCNN with batch-norm and all columns trained at once; see mcnn_published for the paper."""

method = dict(
    name="MCNN",
    title="MCNN, three columns",
    source="Single-Image Crowd Counting via Multi-Column Convolutional Neural Network, CVPR 2016",
)

model = dict(
    type="MCNN",
    backbone=dict(type="MCNNColumns"),
    decoder=dict(type="Identity"),
    target=dict(type="GaussianDensity", sigma=4.0),
    loss=dict(type="DensityMSE"),
    output=dict(scale=100.0),
)

optimizer = dict(type="AdamW", lr=3e-3, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.05, ema=0.99)

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
    mbm=dict(model=dict(target=dict(sigma=8.0), peak_px=6.0)),
    dcc=dict(model=dict(target=dict(sigma=6.0), peak_px=4.0)),
)
