"""Blobs judged by a forest; view, polarity, scales and trees are learned from training images."""

method = dict(
    name="BlobForest",
    title="Scale-space blobs judged by randomised trees",
    source="Geurts et al., Extremely randomized trees, 2006; Lindeberg, IJCV 1998",
)

model = dict(type="BlobForest")

# As BlobLoG: an enlarged image costs time and shows a Gaussian nothing new.
per_dataset = dict(adi=dict(data=dict(input_scale=1.0)))
