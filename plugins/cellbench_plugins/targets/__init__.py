"""Training targets computed from points."""
