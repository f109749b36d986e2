"""Constant baseline: the mean count of the training images, for every image."""

method = dict(
    name="MeanCount",
    title="Mean of the training counts",
    source="the constant predictor",
)

model = dict(type="MeanCount")
