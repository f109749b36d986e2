"""DLA-Count as the released code computes it: P2PNet with another matching cost.

Its MDGC is applied to a map that is not used, its GFD is P2PNet's pyramid, and its point loss is
looked up under another name, so the offsets keep their random initial weights. The network is the
released one; data, selection and threshold follow the protocol, as for every method.

Differs: radii are those of each image, not of the batch; scores have one logit, not two, and the
decoder starts wider (see `KHM`, `PointHead`, `FPN`). Unused modules (MDGC, the levels of strides 4
and 16) are not built.
"""

method = dict(
    name="DLA-released",
    title="DLA-Count, as the released code computes",
    source="github.com/Kadina17/DLA-Count, commit 93012e2",
)

model = dict(
    type="PointCounter",
    backbone=dict(type="VGG16", batch_norm=True, strides=[8, 16]),
    decoder=dict(type="FPN", stride=8, conv=dict(type="Standard")),
    head=dict(
        type="PointHead",
        spacing_px=4,  # 2 x 2 references per map cell of 8 px
        offset_scale_px=100.0,
        channels=256,
        depth=2,
        towers="separate",
        norm="none",
        prior=None,
    ),
    matcher=dict(type="KHM", k=5, sigma_px=5.0, weighting="released"),
    loss=dict(type="PointLoss", point_weight=0.0, background_weight=0.5),
)

optimizer = dict(type="Adam", lr=1e-4, trunk_lr=1e-5, weight_decay=0.0, clip_norm=0.1)

schedule = dict(policy="constant", warmup=0.0)
