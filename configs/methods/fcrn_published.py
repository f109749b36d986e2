"""FCRN-A as compiled by its authors' code: SGD with momentum, narrow Gaussians on ADI and VGG.

Differs: their code then cycles the rate repeatedly through 1e-3, 1e-4 and 1e-5; here it falls once,
from the 1e-2 with which the network is compiled. The decay is that of their larger variant (A-v2)
and of another public reimplementation, and excludes biases. Gaussians are 1 px wide as theirs, but
on MBM and DCC 5 and 4 px as in `fcrn.py`, whose `per_dataset` is applied last; theirs is for VGG
only. Crops, batch and number of steps are those of the data set's file, on VGG crops and batch of
`fcrn.py`.
"""

_base_ = "fcrn.py"

method = dict(name="FCRN-published", title="FCRN-A, published recipe")

model = dict(target=dict(sigma=1.0))

optimizer = dict(type="SGD", lr=1e-2, momentum=0.9, weight_decay=1e-5, clip_norm=None)

schedule = dict(warmup=0.0, ema=None)
