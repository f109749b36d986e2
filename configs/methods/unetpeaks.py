"""UNetPeaks: each cell is a local maximum of a small U-Net's map that reaches a threshold.

The map has stride 1 and the filters are not pretrained; a step takes a third of a second on two
cores. Every position of the map is a proposal; one is matched to each cell and trained to a high
score, all others to a low score. Noise and background of any level stay below the threshold,
whereas the sum of a density map includes them.

Differs: no paper has this method. The U-Net is narrower than Xie's, and how DLA-Count trains its
peaks is not published (see `PeakHead`).
"""

method = dict(
    name="UNetPeaks",
    title="Peaks of a U-Net",
    source="U-Net, arXiv:1505.04597; peaks as DLA-Count, section 2.1",
)

model = dict(
    type="PointCounter",
    backbone=dict(type="UNetEncoder", channels=(24, 32, 48, 64)),
    decoder=dict(type="UNetDecoder", stride=1, channels=24),
    head=dict(type="PeakHead", refine=True, prior=0.01),
    matcher=dict(type="Hungarian", point_weight=0.05, score_weight=1.0),
    loss=dict(type="PointLoss", point_weight=0.0, background_weight=0.5),
    apart_px=2.0,
)

optimizer = dict(type="AdamW", lr=2e-3, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.05, ema=0.99)
