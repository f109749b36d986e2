"""Pretrained Cellpose: the cellpose package with its own weights, without training."""

_base_ = "../recipes/own_resolution.py"

method = dict(
    name="Cellpose (zero-shot)",
    title="Cellpose with its own weights",
    source="Cellpose, Nature Methods 18 (2021), doi:10.1038/s41592-020-01018-x",
)

# 2: original images; recipe 1 resized and normalised them as for networks that are trained here.
recipe = 2

model = dict(type="CellposeZeroShot")
