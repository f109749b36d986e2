"""Count-ception, its map read without batch-norm; countception_published has the paper's recipe."""

method = dict(
    name="CountCeption",
    title="Count-ception, redundant counts",
    source="Count-ception: Counting by Fully Convolutional Redundant Counting, ICCVW 2017",
)

model = dict(
    type="CountCeption",
    backbone=dict(type="CountCeptionTrunk"),
    target=dict(type="RedundantCount", window=32),
    loss=dict(type="MapL1"),
)

optimizer = dict(type="AdamW", lr=3e-3, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.05, ema=0.97, validations=3, first_validation=0.6)

# Few wide crops: the network computes a border of 32 px around each, so that a crop of 64 px is a
# quarter of what it computes and one of 128 px four ninths.
_turns = [dict(type="RandomFlip"), dict(type="QuarterTurn")]
_jittered = [dict(type="RandomCrop", size=128, jitter=(0.8, 1.25)), *_turns]
_stained = [*_jittered, dict(type="ColourJitter")]

per_dataset = dict(
    adi=dict(data=dict(batch_size=2, augment=_stained)),
    mbm=dict(data=dict(batch_size=2, augment=_stained)),
    vgg=dict(data=dict(batch_size=2, augment=[dict(type="RandomCrop", size=128), *_turns])),
    dcc=dict(data=dict(batch_size=2, augment=_stained)),
)
