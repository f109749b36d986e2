"""DLA-Count as the paper describes it: GFD with MDGC, then a 1x1 map whose maxima are the cells.

The paper's map has stride 8. Cells of ADI lie 9 px apart at the median, and two local maxima are
never nearer than two map cells, so the map here has stride 4.

Differs: optimiser, schedule and frozen stages are those of `dla.py` and not Adam at 1e-4, crops and
batches those of the data set's file and not four flipped crops per batch; the paper states neither
a loss nor a length of training.
"""

method = dict(
    name="DLA-paper",
    title="DLA-Count, 1x1 peak head",
    source="DLA-Count: Dynamic Label Assignment Network for Dense Cell Distribution Counting",
)

model = dict(
    type="PointCounter",
    backbone=dict(type="VGG16", batch_norm=True, strides=[4, 8, 16], frozen_stages=2),
    decoder=dict(type="GFD", stride=4, conv=dict(type="MDGC")),
    head=dict(type="PeakHead", window=3),
    matcher=dict(type="KHM", k=5, weighting="reward"),
    # there are no offsets to train, so the loss is the cross-entropy alone
    loss=dict(type="PointLoss", point_weight=0.0),
)

optimizer = dict(type="AdamW", lr=1e-3, trunk_lr=2e-4, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.08, ema=0.99)
