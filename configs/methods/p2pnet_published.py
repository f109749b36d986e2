"""P2PNet with the published hyperparameters: rates, clipping, offsets, no prior.

Differs: AdamW's decay, which their code parses but does not pass on, is 0. Crops, their jitter and
rotations, the batch and the number of steps are those of the data set's file, not four crops of 128
px of each of eight images, flipped and scaled by 0.7 to 1.3, for 3500 epochs; and the point term is
trained, which their code omits because of a wrong name. Scores have one logit, not two, and the
decoder starts wider (see `PointHead`, `FPN`).
"""

_base_ = "p2pnet.py"

method = dict(name="P2PNet-published", title="P2PNet, published recipe")

model = dict(
    backbone=dict(frozen_stages=0),
    head=dict(offset_scale_px=100.0, prior=None),
)

optimizer = dict(lr=1e-4, trunk_lr=1e-5, weight_decay=0.0, clip_norm=0.1)

schedule = dict(policy="constant", warmup=0.0, ema=None)

per_dataset = dict(_delete_=True)
