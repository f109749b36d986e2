"""Reading, keeping, splitting and loading annotated images."""
