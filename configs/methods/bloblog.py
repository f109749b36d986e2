"""BlobLoG: Laplacian-of-Gaussian blobs; view, polarity and scales are chosen on validation."""

method = dict(
    name="BlobLoG",
    title="Scale-space blobs (Laplacian of a Gaussian)",
    source="Lindeberg, Feature detection with automatic scale selection, IJCV 1998",
)

model = dict(type="BlobLoG")

# Original resolution: enlarging costs time and adds no information for Gaussian filters.
per_dataset = dict(adi=dict(data=dict(input_scale=1.0)))
