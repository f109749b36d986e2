"""Batches of two crops of 128 px for networks with a large receptive field; a base of methods.

After many convolutions every position of a small crop is affected by its border, and a network
trained on such positions only is biased on whole images. After the same short training on VGG,
DM-Count with crops of 64 px counted 99, 84 and 59 cells in three whole validation images, and 152,
127 and 92 in their tiles of 64 px (true: 164, 126, 102); with crops of 128 px, counts of whole
images and of tiles agree.
"""

_turns = [dict(type="RandomFlip"), dict(type="QuarterTurn")]
_jittered = [dict(type="RandomCrop", size=128, jitter=(0.8, 1.25)), *_turns]
_stained = dict(data=dict(batch_size=2, augment=[*_jittered, dict(type="ColourJitter")]))

per_dataset = dict(
    adi=_stained,
    mbm=_stained,
    vgg=dict(data=dict(batch_size=2, augment=[dict(type="RandomCrop", size=128), *_turns])),
    dcc=_stained,
)
