"""Blobs of the Laplacian of a Gaussian; view, polarity and scales chosen on validation."""

method = dict(
    name="BlobLoG",
    title="Scale-space blobs (Laplacian of a Gaussian)",
    source="Lindeberg, Feature detection with automatic scale selection, IJCV 1998",
)

model = dict(type="BlobLoG")

# Images as they are: an enlarged one costs time and shows a Gaussian nothing new.
per_dataset = dict(adi=dict(data=dict(input_scale=1.0)))
