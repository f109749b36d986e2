"""BlobForest: blobs classified by trees; settings and trees are fitted to the training images."""

method = dict(
    name="BlobForest",
    title="Scale-space blobs judged by randomised trees",
    source="Geurts et al., Extremely randomized trees, 2006; Lindeberg, IJCV 1998",
)

model = dict(type="BlobForest")

# As for BlobLoG: enlarging costs time and adds no information for Gaussian filters.
per_dataset = dict(adi=dict(data=dict(input_scale=1.0)))
