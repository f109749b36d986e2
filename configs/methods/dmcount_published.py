"""DM-Count as trained by its authors: VGG-19, Adam 1e-5, a final ReLU.

Differs: crops, augmentation (theirs: a flip), batch and number of steps are those of the set's
file: their crops of 256 px and more are larger than our images. Biases do not decay, and all new
layers have He initialisation, the last one starts at the readout's prior.
"""

_base_ = ["dmcount.py"]

method = dict(name="DMCount-published", title="DM-Count, VGG-19, published recipe")

model = dict(
    backbone=dict(type="VGG19", frozen_stages=0),
    decoder=dict(gain=1.0),
    loss=dict(transport_weight=1.0),
    output=dict(activation="relu", scale=1.0),
)

optimizer = dict(type="Adam", lr=1e-5, trunk_lr=1e-5, weight_decay=1e-4, clip_norm=None)

schedule = dict(policy="constant", warmup=0.0, ema=None)

per_dataset = dict(_delete_=True)
