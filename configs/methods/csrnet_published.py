"""CSRNet as trained by its authors: a summed squared error and SGD at the rate of whole images.

Differs: crops of the set's file, flipped, rotated and jittered, instead of single whole images
without augmentation, and its number of steps instead of 400 epochs, each with every image four
times; the momentum is Nesterov's, biases do not decay, and the last convolution starts at the
readout's prior. The squared error is halved, as in the paper and not in the released code, and
averaged over the images of a batch. The map's values are those of the target, without a scale.
Their rate of 1e-7 is for sums over images of some 768x1024 px: a crop of 64 px has 1/192 of the
positions, and with half of the error 1/384 of the gradient, with which ten steps changed nothing;
the rate is 384 times theirs, also where crops are larger.
"""

_base_ = ["csrnet.py"]

method = dict(name="CSRNet-published", title="CSRNet, published recipe")

model = dict(
    backbone=dict(frozen_stages=0),
    decoder=dict(gain=1.0, std=0.01),
    loss=dict(reduction="sum", weight=0.5, count_weight=0.0),
    output=dict(scale=1.0),
)

# 3: the rate fits the sums over crops.
recipe = 3

optimizer = dict(
    type="SGD", lr=3.84e-5, trunk_lr=3.84e-5, momentum=0.95, weight_decay=5e-4, clip_norm=None
)

schedule = dict(policy="constant", warmup=0.0, ema=None)

per_dataset = dict(_delete_=True)
