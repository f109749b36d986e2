"""Tables and pictures of a comparison, for reading; no torch."""
