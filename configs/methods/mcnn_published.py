"""MCNN as its public reimplementations train it: no normalisation, N(0, 0.01), a final ReLU."""

_base_ = ["mcnn.py"]

method = dict(name="MCNN-published", title="MCNN, published recipe")

model = dict(
    backbone=dict(batch_norm=False, std=0.01),
    output=dict(activation="relu", scale=100.0),
)

optimizer = dict(type="Adam", lr=1e-4, weight_decay=1e-4, clip_norm=None)

schedule = dict(policy="constant", warmup=0.0, ema=None)
