"""DLA-Count with every module connected: GFD with MDGC, KHM, scores and offsets both trained."""

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

# On VGG a long average with small batches lost on the validation part of split 0 (MAE 6.2 against
# 4.0): its crops differ in density, and so do the batch statistics that the average follows.
per_dataset = dict(
    # The first recipe jittered the scale of VGG's crops; its record stays (see the set's file).
    vgg=dict(recipe=2, schedule=dict(ema=0.97)),
    # The first recipe left MBM's stains as they are, the second had two proposals count for one
    # cell; their records stay. Within 2 px, half the distance of two references, the better one
    # alone counts: with the same weights, and thresholds chosen without the slide that is scored,
    # that took the MAE on non-test images from 8.2 to 7.0 between donors, and from 6.1 to 5.9
    # within. ADI (13.1 to 12.3, a short training) and VGG (4.4 to 4.2) gain too: they get it with
    # their next training.
    mbm=dict(recipe=3, model=dict(apart_px=2.0)),
)
