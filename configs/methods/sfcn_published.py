"""SFCN on VGG-16 with the released hyperparameters: Adam 1e-5, ReLU, target times 100.

Differs: the released code is that of the ResNet-101 form (sfcn_resnet101), and its rate falls by
0.5 % per epoch; here it is constant. Crops, augmentation (theirs: a flip), batch and number of
steps are those of the set's file, biases do not decay, and the last convolution starts at the
readout's prior. A value of the map there represents 8 x 8 px, each compared with the target
separately: the scale of the sum is 100 / 64, and so is ours.
"""

_base_ = ["sfcn.py"]

method = dict(name="SFCN-published", title="SFCN, VGG-16 form, published recipe")

model = dict(
    backbone=dict(frozen_stages=0),
    decoder=dict(gain=1.0, std=0.01),
    loss=dict(count_weight=0.0),
    output=dict(activation="relu", scale=100 / 64),
)

optimizer = dict(type="Adam", lr=1e-5, trunk_lr=1e-5, weight_decay=1e-4, clip_norm=None)

schedule = dict(policy="constant", warmup=0.0, ema=None)

per_dataset = dict(_delete_=True)
