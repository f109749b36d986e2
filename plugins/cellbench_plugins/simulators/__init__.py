"""Generated data sets with the appearance of the real ones and exact points."""
