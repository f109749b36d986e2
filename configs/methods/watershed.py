"""Watershed baseline: threshold, distance transform, watershed; settings chosen on validation."""

method = dict(
    name="Watershed",
    title="Threshold, distance transform, watershed",
    source="Beucher and Lantuejoul, Use of watersheds in contour detection, 1979",
)

model = dict(type="Watershed")

# Original resolution: enlarging costs time and does not change the regions.
per_dataset = dict(adi=dict(data=dict(input_scale=1.0)))
