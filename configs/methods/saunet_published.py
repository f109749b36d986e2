"""SAU-Net with the published recipe: batch-norm statistics of whole images, a final ReLU.

Differs: one rate that falls once, instead of restarts after 50 and 150 of 350 steps, and the steps,
crops and batch of the data set's file, on VGG crops and batch of `fcrn.py`; theirs are almost whole
images, 75 at a time, 15 on MBM. The decay excludes biases and norms.
"""

_base_ = "saunet.py"

method = dict(name="SAUNet-published", title="SAU-Net, published recipe")

# 4: the decay is a thousandth of a weight per step, as published, and not a millionth; 3: the scale
# of the maps depends on the set, as published; 2 is that of `fcrn.py`.
recipe = 4

model = dict(whole_image_statistics=True, output=dict(activation="relu"))

# the decay is multiplied by the rate here, and not in theirs
optimizer = dict(lr=1e-3, weight_decay=1.0, clip_norm=None)

schedule = dict(warmup=0.0, ema=None)

per_dataset = dict(
    mbm=dict(model=dict(output=dict(scale=1000.0))),
    dcc=dict(model=dict(output=dict(scale=500.0))),
)
