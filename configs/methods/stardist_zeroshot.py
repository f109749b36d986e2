"""The stardist package with its own weights: how the tool that people use scores untrained."""

_base_ = "../recipes/own_resolution.py"

method = dict(
    name="StarDist (zero-shot)",
    title="StarDist with its own weights",
    source="Cell Detection with Star-convex Polygons, arXiv:1806.03535",
)

# 2: images as they come; recipe 1 resized and normalised them as for networks that learn here.
recipe = 2

model = dict(type="StarDistZeroShot")

# Stained tissue has a model of its own.
per_dataset = dict(
    adi=dict(model=dict(weights="2D_versatile_he")),
    mbm=dict(model=dict(weights="2D_versatile_he")),
)
