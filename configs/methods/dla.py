"""DLA-Count with every module connected: GFD with MDGC, KHM, scores and offsets both trained.

Differs: the paper's map has stride 8 and is a 1x1 convolution whose local maxima are cells
(`dla_paper.py`); here it has stride 4, and each reference a score and an offset, as in P2PNet and
the released code. KHM's cost grows with the distance (`monotone`); the paper states no cost and no
loss. VGG's first two stages keep ImageNet's filters. AdamW at 1e-3 (trunk 2e-4) on one cosine
instead of Adam at 1e-4, weights averaged over steps, crops with quarter turns and jitter besides
flips, and batches of the data set's file instead of four, so that minutes of training suffice. On
MBM the scores of near proposals are added over four views (`../recipes/shared_cells.py`).
"""

_base_ = "../recipes/shared_cells.py"

method = dict(
    name="DLA",
    title="DLA-Count, everything connected",
    source="DLA-Count: Dynamic Label Assignment Network for Dense Cell Distribution Counting",
)

model = dict(
    type="PointCounter",
    backbone=dict(type="VGG16", batch_norm=True, strides=[4, 8, 16], frozen_stages=2),
    decoder=dict(type="GFD", stride=4, conv=dict(type="MDGC")),
    head=dict(type="PointHead", spacing_px=4),
    matcher=dict(type="KHM", k=5, weighting="monotone"),
    loss=dict(type="PointLoss"),
)

optimizer = dict(type="AdamW", lr=1e-3, trunk_lr=2e-4, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.08, ema=0.99)

# On VGG a long average with small batches was worse on the validation part of split 0 (MAE 6.2
# against 4.0): its crops differ in density, and so do the batch statistics that are averaged.
per_dataset = dict(
    # The first recipe jittered the scale of VGG's crops; its record is kept (see the set's file).
    vgg=dict(recipe=2, schedule=dict(ema=0.97)),
    # The first recipe did not normalise MBM's stains, the second counted two proposals for one
    # cell, the third dropped the worse of two within 2 px, the fourth added them within 3 px: their
    # records are kept. ADI and VGG will add them too with their next training.
    mbm=dict(recipe=5),
)
