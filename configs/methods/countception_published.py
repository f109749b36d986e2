"""Count-ception as trained by its authors: norms that only scale and shift, Adam at 5e-5.

Differs: crops, augmentation, batch and number of steps are those of the data set's file, not 1000
epochs of two whole images without augmentation; kernels start with the gain of a LeakyReLU.
"""

_base_ = "countception.py"

method = dict(name="CountCeption-published", title="Count-ception, published recipe")

# 3: batch-norms do not normalise, as in the authors' code; ADI and MBM are not resized.
recipe = 3

model = dict(backbone=dict(normalise=False), last_norm=True, normalise=False)

optimizer = dict(type="Adam", lr=5e-5, weight_decay=0.0, clip_norm=None)

schedule = dict(policy="constant", warmup=0.0, ema=None)

_as_it_comes = dict(data=dict(input_scale=1.0, prepare=[]))
per_dataset = dict(_delete_=True, adi=_as_it_comes, mbm=_as_it_comes)
