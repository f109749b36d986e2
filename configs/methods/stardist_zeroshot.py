"""Pretrained StarDist: the stardist package with its own weights, without training."""

_base_ = "../recipes/own_resolution.py"

method = dict(
    name="StarDist (zero-shot)",
    title="StarDist with its own weights",
    source="Cell Detection with Star-convex Polygons, arXiv:1806.03535",
)

# 2: original images; recipe 1 resized and normalised them as for networks that are trained here.
recipe = 2

model = dict(type="StarDistZeroShot")

# There is a separate model for stained tissue.
per_dataset = dict(
    adi=dict(model=dict(weights="2D_versatile_he")),
    mbm=dict(model=dict(weights="2D_versatile_he")),
)
