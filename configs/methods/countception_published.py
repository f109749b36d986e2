"""Count-ception with batch-norm and LeakyReLU behind its last layer, at the authors' rate.

Differs: pairs of crops of 128 px instead of pairs of whole images, and as many passes over the set
as its file says instead of 1000.
"""

_base_ = "countception.py"

method = dict(name="CountCeption-published", title="Count-ception, published recipe")

model = dict(last_norm=True)

optimizer = dict(type="Adam", lr=5e-5, weight_decay=0.0, clip_norm=None)

schedule = dict(policy="constant", warmup=0.0, ema=None)
