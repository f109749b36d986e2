"""StarDist with the published hyperparameters: no batch-norm, 128 features, Adam at 3e-4.

Differs: the rate is constant, where theirs is halved whenever the validation loss does not fall for
40 epochs. Crops, rotations, jitter, batch and number of steps are those of the data set's file, not
four patches of 256 px, nine in ten with an object in them, for 40,000 steps.
"""

_base_ = ["stardist.py"]

method = dict(name="StarDist-published", title="StarDist on pseudo-discs, published recipe")

model = dict(norm="none", features=128, grid=1)

optimizer = dict(type="Adam", lr=3e-4, weight_decay=0.0, clip_norm=None)

schedule = dict(policy="constant", warmup=0.0, ema=None)
