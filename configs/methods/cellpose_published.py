"""Cellpose with the hyperparameters of release 3: 32 to 256 channels, AdamW at 0.005.

Differs: the paper's release trained with SGD at 0.2 for 500 epochs. The rate is constant after its
warm-up, where release 3 halves it ten times in the last 100 of 2000 epochs. Crops, rotations, batch
and number of steps are those of the data set's file, not eight crops of 224 px, rotated by any
angle and scaled to cells of 30 px.
"""

_base_ = ["cellpose.py"]

method = dict(name="Cellpose-published", title="Cellpose on pseudo-masks, published recipe")

model = dict(widths=[32, 64, 128, 256], least_pixels=15, pixel_floor=0.5, flow_error=0.4)

optimizer = dict(type="AdamW", lr=5e-3, weight_decay=1e-5, clip_norm=None)

schedule = dict(policy="constant", warmup=0.005, ema=None)
