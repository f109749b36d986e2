"""The mean count of the training images, for every image; what each method has to beat."""

method = dict(
    name="MeanCount",
    title="Mean of the training counts",
    source="the constant predictor",
)

model = dict(type="MeanCount")
