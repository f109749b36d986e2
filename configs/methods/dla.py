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
    # cell, the third dropped the worse of two within 2 px: their records stay. A large nucleus lies
    # among several references, 4 px apart, that share its probability, so that none of them
    # reached the threshold: obvious nuclei were missed. Their scores are added now. Trained on
    # some donors of the 30 images that split 0 does not test, and scored on three others, F1 was
    # 0.836 without, 0.869 with dropping and 0.893 with adding within 3 px (of 2 to 5 px the best
    # by a little); with another augmentation 0.834, 0.868 and 0.894. ADI and VGG get it with their
    # next training.
    mbm=dict(recipe=4, model=dict(apart_px=3.0, near="add")),
)
