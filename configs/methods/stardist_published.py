"""StarDist with the numbers of its paper: no batch-norm, 128 features, Adam at 3e-4."""

_base_ = ["stardist.py"]

method = dict(name="StarDist-published", title="StarDist on pseudo-discs, published recipe")

model = dict(norm="none", features=128, grid=1)

optimizer = dict(type="Adam", lr=3e-4, weight_decay=0.0, clip_norm=None)

schedule = dict(policy="constant", warmup=0.0, ema=None)
