"""SFCN on VGG-16, trained by AdamW in minutes; sfcn_published has the recipe of the released code.

Differs: VGG's first two stages keep ImageNet's filters; the error of the count is added; crops
are small, flipped and turned.
"""

method = dict(
    name="SFCN",
    title="SFCN, VGG-16 form",
    source="Learning from Synthetic Data for Crowd Counting in the Wild, arXiv:1903.03303",
)

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

# Crops of 128 px: behind so many convolutions each place of a smaller one sees its border, and a
# network that knows only such places misjudges whole images. After the same short training on VGG,
# DM-Count with crops of 64 px saw 99, 84 and 59 cells in three whole validation images, and 152,
# 127 and 92 in their tiles of 64 px (true: 164, 126, 102); with 128 px whole and tiles agree.
_turns = [dict(type="RandomFlip"), dict(type="QuarterTurn")]
_jittered = [dict(type="RandomCrop", size=128, jitter=(0.8, 1.25)), *_turns]
_stained = [*_jittered, dict(type="ColourJitter")]

per_dataset = dict(
    adi=dict(data=dict(batch_size=2, augment=_stained)),
    mbm=dict(data=dict(batch_size=2, augment=_stained)),
    vgg=dict(data=dict(batch_size=2, augment=[dict(type="RandomCrop", size=128), *_turns])),
    dcc=dict(data=dict(batch_size=2, augment=_stained)),
)
