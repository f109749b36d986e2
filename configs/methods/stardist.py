"""StarDist on pseudo-discs: a U-Net of the published width, with batch-norm and half the features.

Differs: AdamW at 2e-3 on one cosine instead of Adam at 3e-4 for 40,000 steps, and a grid of 2 px,
so that minutes on a CPU suffice; `stardist_published.py` keeps the authors' numbers.
"""

method = dict(
    name="StarDist",
    title="StarDist on pseudo-discs",
    source="Cell Detection with Star-convex Polygons, arXiv:1806.03535",
)

model = dict(type="StarDist", width=32, depth=3, features=64, grid=2, rays=32)

optimizer = dict(type="AdamW", lr=2e-3, weight_decay=1e-4, clip_norm=5.0)

schedule = dict(policy="cosine", warmup=0.05, ema=0.98)

# Radii in px of the original image: cells of ADI are 9 px apart at the median, nuclei of MBM
# 27 px and cells of VGG 9 px, where some overlap almost completely.
per_dataset = dict(
    adi=dict(model=dict(least_radius_px=2.5, most_radius_px=7.0)),
    mbm=dict(model=dict(least_radius_px=6.0, most_radius_px=14.0)),
    vgg=dict(model=dict(least_radius_px=3.0, most_radius_px=6.0)),
    dcc=dict(model=dict(least_radius_px=5.0, most_radius_px=16.0)),
)
