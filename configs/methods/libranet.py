"""LibraNet, the "DQN" of the DLA-Count paper's table: counts of 32-px blocks by deep Q-learning.

Blocks are those of the network's input: at each set's scale they hold a few cells on average (ADI
3, VGG 3, MBM 1.4), far from the 31.5 of the last class. Crops are wider than for other methods
here, because the trunk's receptive field reaches 90 px beyond a block.

Differs: AdamW at 1e-3 on one cosine, with averaged weights, instead of SGD at 1e-5 for 100 epochs;
half the policy's width; VGG's first two stages keep ImageNet's filters.
"""

method = dict(
    name="LibraNet",
    title="LibraNet (DQN)",
    source="Weighing Counts: Sequential Crowd Counting by Reinforcement Learning, arXiv:2007.08260",
)

# 2: more updates of the policy per weighing and per step of the trunk. With 326 of them the
# validation MAE on VGG was still falling steeply (183, 27, ...).
# 3: counts are corrected on the validation images (docs/protocols.md).
recipe = 3

# A policy step without exploration takes a fifth of the time of one with it, and a twentieth of a
# trunk step; the paper learns from 128 transitions for every 100 new ones, this from some 800.
model = dict(
    type="LibraNet",
    hidden=512,  # 1024 as published: three times the time of an update, most of it the policy's
    explored_share=0.25,
    counter_share=0.15,
    backbone=dict(type="VGG16", batch_norm=True, strides=[16], frozen_stages=2),
)

optimizer = dict(type="AdamW", lr=1e-3, trunk_lr=2e-4, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.05, ema=0.99)

_turns = [dict(type="RandomFlip"), dict(type="QuarterTurn")]
_stained = [*_turns, dict(type="ColourJitter")]
_crops = dict(type="RandomCrop", size=160, jitter=(0.8, 1.25))

per_dataset = dict(
    vgg=dict(data=dict(batch_size=4, augment=[dict(type="RandomCrop", size=128), *_turns])),
    adi=dict(data=dict(batch_size=3, augment=[dict(_crops, jitter=(0.9, 1.1)), *_stained])),
    mbm=dict(data=dict(batch_size=4, augment=[_crops, *_stained])),
    dcc=dict(data=dict(batch_size=4, augment=[dict(_crops, jitter=(0.7, 1.4)), *_stained])),
)
