"""Threshold, distance transform and watershed; the settings are chosen on validation."""

method = dict(
    name="Watershed",
    title="Threshold, distance transform, watershed",
    source="Beucher and Lantuejoul, Use of watersheds in contour detection, 1979",
)

model = dict(type="Watershed")

# Images as they are: an enlarged one costs time and has no other regions.
per_dataset = dict(adi=dict(data=dict(input_scale=1.0)))
