"""MCNN with batch-norm and all columns trained at once; mcnn_published is nearer to the paper.

Differs: AdamW with a cosine, clipped gradients and averaged weights instead of Adam at one rate; a
linear output; crops, flipped, rotated and jittered as in the set's file, on VGG as in `fcrn.py`.
"""

_base_ = "fcrn.py"

method = dict(
    name="MCNN",
    title="MCNN, three columns",
    source="Single-Image Crowd Counting via Multi-Column Convolutional Neural Network, CVPR 2016",
)

# Its maps are four times coarser than FCRN's: wider Gaussians.
model = dict(
    type="MCNN",
    backbone=dict(_delete_=True, type="MCNNColumns"),
    target=dict(sigma=4.0),
)

optimizer = dict(lr=3e-3)

schedule = dict(ema=0.99)

per_dataset = dict(
    mbm=dict(model=dict(target=dict(sigma=8.0))),
    dcc=dict(model=dict(target=dict(sigma=6.0))),
)
