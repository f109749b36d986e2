"""MCNN as trained by its public reimplementations: no normalisation, N(0, 0.01), a final ReLU.

Differs: rates and decay are those of C-3-Framework, which trains on single whole images for 3000
epochs and flips them; crops, augmentation, batch and number of steps are those of the set's file,
on VGG crops and batch of `fcrn.py`. Biases do not decay, the last convolution starts at the
readout's prior, and deviations grow with the set's cells (theirs: 4 px). A value of the map there
represents 4 x 4 px, each compared with a hundred times the target: the scale of the sum is
100 / 16, and so is ours.
"""

_base_ = ["mcnn.py"]

method = dict(name="MCNN-published", title="MCNN, published recipe")

# 3: before, the scale was 100, that of a map of stride 1; 2 is that of `fcrn.py`.
recipe = 3

model = dict(
    backbone=dict(batch_norm=False, std=0.01),
    output=dict(activation="relu", scale=100 / 16),
)

optimizer = dict(type="Adam", lr=1e-4, weight_decay=1e-4, clip_norm=None)

schedule = dict(policy="constant", warmup=0.0, ema=None)
