"""Training targets made from points."""
