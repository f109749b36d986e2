"""Cellpose with its published numbers: levels of 32 to 256 channels, AdamW at 0.005."""

_base_ = ["cellpose.py"]

method = dict(name="Cellpose-published", title="Cellpose on pseudo-masks, published recipe")

model = dict(widths=[32, 64, 128, 256], least_pixels=15, pixel_floor=0.5, flow_error=0.4)

optimizer = dict(type="AdamW", lr=5e-3, weight_decay=1e-5, clip_norm=None)

schedule = dict(policy="constant", warmup=0.005, ema=None)
