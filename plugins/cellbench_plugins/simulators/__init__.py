"""Generated data sets with the look of the real ones and exact points."""
