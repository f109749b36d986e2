"""Count-ception with batch-norm and LeakyReLU behind its last layer, at the authors' rate.

Differs: crops, what is done to them, scale (ADI: 1.5), batch and number of steps are those of the
data set's file, not 1000 epochs of two whole images as they are; kernels start with the gain of a
LeakyReLU; batch-norm normalises, which the authors' code does not (see `CountCeption`).
"""

_base_ = "countception.py"

method = dict(name="CountCeption-published", title="Count-ception, published recipe")

model = dict(last_norm=True)

optimizer = dict(type="Adam", lr=5e-5, weight_decay=0.0, clip_norm=None)

schedule = dict(policy="constant", warmup=0.0, ema=None)

per_dataset = dict(_delete_=True)
